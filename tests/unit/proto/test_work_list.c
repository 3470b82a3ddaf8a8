/* SPDX-License-Identifier: GPL-2.0-only */
/* The list of work types and the schema say the same. */
#include "proto/work_wire.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static const ProtobufCMessageDescriptor *const kinds[] = {
#define K(kind, message) [WORK_PARAM_##kind] = &schedrig__v1__##message##__descriptor,
	WORK_PARAM_KIND_LIST(K)
#undef K
};

Test(work_list, is_the_schema)
{
	const ProtobufCMessageDescriptor *all = &schedrig__v1__work_type__descriptor;
	for (unsigned i = 0; i < all->n_fields; i++) {
		const ProtobufCFieldDescriptor *form = &all->fields[i];
		const struct work_type_info *info = work_type_info(form->id);
		cr_assert_not_null(info, "%s is not in the list", form->name);
		cr_assert_str_eq(info->name, form->name);
		const ProtobufCMessageDescriptor *message = form->descriptor;
		cr_assert_eq(message->n_fields, info->n_params, "%s", info->name);
		for (unsigned k = 0; k < info->n_params; k++) {
			const struct work_param *param = &info->params[k];
			cr_assert_str_eq(message->fields[k].name, param->name);
			cr_assert_eq(message->fields[k].descriptor, kinds[param->kind], "%s.%s", info->name,
				param->name);
		}
	}
	unsigned listed = 0;
	for (unsigned type = 0; type < WORK_TYPES; type++)
		listed += work_type_info(type) != NULL;
	cr_assert_eq(listed, all->n_fields);
}

Test(work_list, defaults_are_within_their_limits)
{
	for (unsigned type = 0; type < WORK_TYPES; type++) {
		struct err err = ERR_INIT;
		if (!work_type_info(type))
			continue;
		struct work_params params = work_params_standard((enum work_type)type);
		cr_assert_eq(work_params_check(&params, &err), 0, "%s", err.message);
		cr_assert_geq(work_group_size(&params), 1);
		cr_assert_leq(work_group_size(&params), 4096);
	}
}

Test(work_list, reads_what_is_given)
{
	Schedrig__V1__WorkType type = SCHEDRIG__V1__WORK_TYPE__INIT;
	Schedrig__V1__IdleChurn churn = SCHEDRIG__V1__IDLE_CHURN__INIT;
	Schedrig__V1__Duration sleep = SCHEDRIG__V1__DURATION__INIT;
	Schedrig__V1__BoolValue precise = SCHEDRIG__V1__BOOL_VALUE__INIT;
	struct work_params params;
	struct err err = ERR_INIT;
	cr_assert_eq(work_params_read(NULL, &params, &err), 0);
	cr_assert_eq(params.type, WORK_SPIN_WAIT);
	cr_assert_lt(work_params_read(&type, &params, &err), 0);

	type.form_case = SCHEDRIG__V1__WORK_TYPE__FORM_IDLE_CHURN;
	type.idle_churn = &churn;
	cr_assert_eq(work_params_read(&type, &params, &err), 0, "%s", err.message);
	cr_assert_eq(params.type, WORK_IDLE_CHURN);
	cr_assert_eq(params.idle_churn.burst_ns, 1000000);
	cr_assert_eq(params.idle_churn.sleep_ns, 5000000);
	cr_assert_eq(params.idle_churn.precise, 0);
	churn.sleep = &sleep;
	churn.precise = &precise;
	sleep.ns = 77;
	precise.value = 1;
	cr_assert_eq(work_params_read(&type, &params, &err), 0, "%s", err.message);
	cr_assert_eq(params.idle_churn.sleep_ns, 77);
	cr_assert_eq(params.idle_churn.precise, 1);
	sleep.ns = 3601 * UINT64_C(1000000000);
	cr_assert_lt(work_params_read(&type, &params, &err), 0);
	cr_assert_not_null(strstr(err.message, "sleep of idle_churn"), "%s", err.message);
}
