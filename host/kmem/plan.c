/* SPDX-License-Identifier: GPL-2.0-only */
/* Prepared reads. No state beyond a plan, any thread. */
#include "host/kmem/plan.h"

#include <errno.h>
#include <string.h>

/* As a `stable` read of a batch. */
#define STABLE_TRIES 64

static int target_copy(struct kmem_target *to, const struct kmem_target *from, struct err *err)
{
	*to = *from;
	to->name = from->name ? strdup(from->name) : NULL;
	to->field = from->field ? strdup(from->field) : NULL;
	if ((from->name && !to->name) || (from->field && !to->field))
		return err_set(err, ERR_HOST, "out of memory for a prepared read");
	return 0;
}

void kmem_plan_deinit(struct kmem_plan *plan)
{
	free((char *)plan->target.name);
	free((char *)plan->target.field);
	*plan = (struct kmem_plan){0};
}

/* The host address of a value that is in one piece and stays where it is. */
static const uint8_t *unmoving(const struct kmem *kmem, const struct kmem_plan *plan)
{
	struct kmem_range_iter iter = {kmem, plan->where.way, plan->where.address, plan->length};
	struct kmem_span span;

	if (!plan->route.fixed || plan->route.hops > 0 ||
		!kmem_is_unmoving(kmem, plan->where.way, plan->where.address))
		return NULL;
	return kmem_range_next(&iter, &span, NULL) > 0 && span.length == plan->length ? span.host : NULL;
}

int kmem_plan_init(
	struct kmem_plan *plan, const struct kmem *kmem, const struct kmem_read *read, struct err *err)
{
	struct kmem_read probe = *read;
	int rc;

	*plan = (struct kmem_plan){.stable = read->stable};
	/* A batch of one finds every mistake there is. */
	probe.stable = false;
	probe.bytes = NULL;
	if (probe.width == KMEM_BYTES && probe.length <= KMEM_BYTES_MAX)
		probe.bytes = malloc(probe.length ? probe.length : 1);
	rc = kmem_read_batch(kmem, &probe, 1, NULL, err);
	free(probe.bytes);
	if (rc < 0) {
		if (err)
			err->place[0] = '\0';
		return rc;
	}
	plan->width = probe.width;
	plan->length = probe.width == KMEM_BYTES ? probe.length : (uint64_t)probe.width;
	rc = target_copy(&plan->target, &read->target, err);
	if (rc == 0)
		rc = kmem_target_route(kmem, &plan->target, &plan->where, &plan->route, err);
	if (rc < 0) {
		kmem_plan_deinit(plan);
		return rc;
	}
	plan->host = unmoving(kmem, plan);
	return 0;
}

int kmem_plan_turn_init(struct kmem_plan_turn *turn, const struct kmem *kmem, bool frozen, struct err *err)
{
	int rc = kmem_check(kmem, err);

	*turn = (struct kmem_plan_turn){.kmem = kmem, .frozen = frozen};
	return rc < 0 ? rc : kmem_online(kmem, &turn->online, err);
}

/* Where the value is now. */
static int plan_resolve(
	struct kmem_plan_turn *turn, const struct kmem_plan *plan, gva_t *ret_at, struct err *err)
{
	const struct kmem_route *route = &plan->route;
	struct kmem_resolved where = {0};
	gva_t at = route->start;
	int rc;

	if (!route->fixed) {
		/* Failures cost as much, and a request goes on behind them: it is looked at before. */
		rc = kmem_spend_hops(turn->kmem, &turn->hops, 0, err);
		if (rc == 0)
			rc = kmem_target_resolve(turn->kmem, &plan->target, &where, err);
		turn->hops += where.hops;
		if (rc == 0)
			*ret_at = where.address;
		return rc;
	}
	for (unsigned i = 0; i < route->hops; i++) {
		uint64_t to;
		at.v += route->offset[i];
		rc = kmem_copy(turn->kmem, at, &to, sizeof(to), err);
		if (rc < 0)
			return rc;
		if (to == 0) {
			rc = err_set(err, ERR_UNMAPPED, "a pointer on the way is NULL, at 0x%llx",
				(unsigned long long)at.v);
			(void)err_reason(err, "null-pointer");
			return rc;
		}
		at = GVA(to);
	}
	at.v += route->offset[route->hops];
	*ret_at = at;
	return 0;
}

static int once(
	const struct kmem_plan_turn *turn, const struct kmem_plan *plan, gva_t at, void *to, struct err *err)
{
	if (!plan->host)
		return kmem_copy_by(turn->kmem, plan->where.way, at, to, plan->length, err);
	kmem_copy_host(to, plan->host, plan->length);
	return 0;
}

static int until_stable(const struct kmem_plan_turn *turn, const struct kmem_plan *plan, gva_t at,
	uint8_t *to, struct err *err)
{
	_cleanup_free_ uint8_t *again = malloc(plan->length);
	int rc;

	if (!again)
		return err_set(err, ERR_HOST, "out of memory for a prepared read");
	rc = once(turn, plan, at, to, err);
	for (unsigned i = 0; rc == 0 && i < STABLE_TRIES; i++) {
		rc = once(turn, plan, at, again, err);
		if (rc == 0 && memcmp(to, again, plan->length) == 0)
			return 0;
		memcpy(to, again, plan->length);
	}
	return rc < 0 ? rc
		      : err_set(err, ERR_TIMEOUT,
				"the value changed in each of %d reads: it does not hold still",
				STABLE_TRIES);
}

int kmem_plan_read(struct kmem_plan_turn *turn, const struct kmem_plan *plan, uint64_t *ret_value,
	uint8_t *bytes, struct err *err)
{
	uint64_t value = 0;
	uint8_t *to = plan->width == KMEM_BYTES ? bytes : (uint8_t *)&value;
	gva_t at = plan->where.address;
	int rc = 0;

	if (plan->route.cpu >= 0 && !cpuset_has(&turn->online, (unsigned)plan->route.cpu)) {
		rc = err_set(err, ERR_FAILED_PRECONDITION, "CPU %d is offline", plan->route.cpu);
		(void)err_reason(err, "cpu-offline");
		return rc;
	}
	if (!plan->host)
		rc = plan_resolve(turn, plan, &at, err);
	if (rc == 0)
		rc = plan->stable && !turn->frozen ? until_stable(turn, plan, at, to, err)
						   : once(turn, plan, at, to, err);
	if (rc < 0 || plan->width == KMEM_BYTES)
		return rc;
	if (plan->where.bit_size > 0)
		value = value >> plan->where.bit_offset &
			(UINT64_MAX >> (64 - MIN_OF(plan->where.bit_size, 64)));
	*ret_value = value;
	return 0;
}
