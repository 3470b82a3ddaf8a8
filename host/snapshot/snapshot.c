/* SPDX-License-Identifier: GPL-2.0-only */
/* Snapshots as such, and as JSON in the run directory. No state, any thread. */
#include "host/snapshot/snapshot.h"

#include "common/fd.h"
#include "common/strbuf.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <string.h>

void snapshot_free(struct snapshot *snapshot)
{
	if (!snapshot)
		return;
	free(snapshot->vcpus);
	free(snapshot->rqs);
	free(snapshot);
}

int snapshot_parts(const char *const *names, size_t n, uint32_t *ret_parts, struct err *err)
{
	static const struct {
		const char *name;
		bool here;
	} parts[] = {
#define X(id, text, here) {text, here},
		SNAPSHOT_PART_LIST(X)
#undef X
	};
	uint32_t bits = 0;

	for (size_t i = 0; i < n; i++) {
		unsigned k = 0;
		while (k < SNAPSHOT_PART_COUNT && strcmp(parts[k].name, names[i]) != 0)
			k++;
		if (k == SNAPSHOT_PART_COUNT)
			return err_set(err, ERR_INVALID_ARGUMENT,
				"snapshots have no part '%.64s': there are %s", names[i],
			/* The list begins with a comma. */
#define X(id, text, here) ", " text
				&(SNAPSHOT_PART_LIST(X))[2]);
#undef X
		if (!parts[k].here)
			return err_set(
				err, ERR_UNSUPPORTED, "snapshot part '%s' is not in this version", names[i]);
		bits |= SNAPSHOT_BIT(k);
	}
	*ret_parts = bits ? bits : SNAPSHOT_ALL;
	return 0;
}

/* jansson keeps the first failure for itself: json_object_set_new(NULL or NULL value) returns -1 and frees,
 * so only the end result is looked at. */
static json_t *hex(uint64_t value)
{
	return json_sprintf("0x%" PRIx64, value);
}

static json_t *number(const struct snapshot_value *v)
{
	/* JSON integers are signed 64 bits here; what is larger would come back negative. */
	if (!v->is_signed && v->value > INT64_MAX)
		return hex(v->value);
	return json_integer((json_int_t)v->value);
}

static json_t *error_json(const struct err *err)
{
	return json_pack("{s:s, s:s, s:s}", "code", err_code_name(err->code), "reason", err->reason,
		"message", err->message);
}

static json_t *segment_json(const struct kvm_segment *s)
{
	return json_pack("{s:o, s:o, s:o, s:i, s:i, s:b}", "selector", hex(s->selector), "base", hex(s->base),
		"limit", hex(s->limit), "type", s->type, "dpl", s->dpl, "present", s->present != 0);
}

#define REG_LIST(X)                                                                                          \
	X(rax)                                                                                               \
	X(rbx)                                                                                               \
	X(rcx)                                                                                               \
	X(rdx)                                                                                               \
	X(rsi) X(rdi) X(rsp) X(rbp) X(r8) X(r9) X(r10) X(r11) X(r12) X(r13) X(r14) X(r15) X(rip) X(rflags)
#define CONTROL_LIST(X) X(cr0) X(cr2) X(cr3) X(cr4) X(cr8) X(efer) X(apic_base)
#define SEGMENT_LIST(X) X(cs) X(ds) X(es) X(fs) X(gs) X(ss) X(tr) X(ldt)

static const char *mp_state_name(uint32_t state)
{
	switch (state) {
	case KVM_MP_STATE_RUNNABLE:
		return "runnable";
	case KVM_MP_STATE_UNINITIALIZED:
		return "waits-for-init";
	case KVM_MP_STATE_INIT_RECEIVED:
		return "waits-for-sipi";
	case KVM_MP_STATE_HALTED:
		return "halted";
	case KVM_MP_STATE_SIPI_RECEIVED:
		return "sipi-received";
	default:
		return "other";
	}
}

static json_t *vcpu_json(const struct snapshot_vcpu *v, unsigned i)
{
	json_t *out = json_pack("{s:i, s:s, s:b, s:b, s:i}", "vcpu", (int)i, "state",
		mp_state_name(v->state.mp_state), "halted", v->state.mp_state == KVM_MP_STATE_HALTED, "dead",
		v->state.dead, "exit_reason", (int)v->state.exit_reason);

	if (v->state.read_errno) {
		struct err err;
		(void)err_set_os(
			&err, ERR_HOST, v->state.read_errno, "cannot read the registers of vCPU %u", i);
		json_object_set_new(out, "error", error_json(&err));
		return out;
	}
	json_object_set_new(out, "rip_symbol", *v->rip_text ? json_string(v->rip_text) : json_null());
	json_t *regs = json_object();
#define X(name) json_object_set_new(regs, #name, hex(v->state.regs.name));
	REG_LIST(X)
#undef X
#define X(name) json_object_set_new(regs, #name, hex(v->state.sregs.name));
	CONTROL_LIST(X)
#undef X
	json_object_set_new(out, "registers", regs);
	json_t *segments = json_object();
#define X(name) json_object_set_new(segments, #name, segment_json(&v->state.sregs.name));
	SEGMENT_LIST(X)
#undef X
	json_object_set_new(out, "segments", segments);
	return out;
}

static json_t *task_json(const struct snapshot_task *t)
{
	static const char *const names[] = {
#define X(id, name, path) name,
		SNAPSHOT_TASK_LIST(X)
#undef X
	};
	json_t *out = json_pack("{s:o}", "address", hex(t->address));

	if (t->err.code) {
		json_object_set_new(out, "error", error_json(&t->err));
		return out;
	}
	/* The guest's bytes need not be UTF-8: anything beyond ASCII is shown as '?'. */
	char comm[sizeof(t->comm)];
	for (size_t i = 0; i < sizeof(comm); i++)
		comm[i] = t->comm[i] == 0 || (t->comm[i] >= ' ' && t->comm[i] < 0x7f) ? t->comm[i] : '?';
	comm[sizeof(comm) - 1] = '\0';
	json_object_set_new(out, "comm", json_string(comm));
	for (unsigned i = 0; i < SNAPSHOT_TASK_COUNT; i++)
		if (t->field[i].present)
			json_object_set_new(out, names[i], number(&t->field[i]));
	return out;
}

static json_t *rq_json(const struct snapshot_rq *rq)
{
	static const struct {
		const char *group, *name;
	} names[] = {
#define X(id, group, name, path, older) {group, name},
		SNAPSHOT_RQ_LIST(X)
#undef X
	};
	json_t *out = json_pack("{s:i}", "cpu", (int)rq->cpu);

	if (rq->err.code) {
		json_object_set_new(out, "error", error_json(&rq->err));
		return out;
	}
	json_object_set_new(out, "address", hex(rq->address));
	for (unsigned i = 0; i < SNAPSHOT_RQ_COUNT; i++) {
		json_t *in = out;
		if (!rq->field[i].present)
			continue;
		if (*names[i].group) {
			in = json_object_get(out, names[i].group);
			if (!in) {
				in = json_object();
				json_object_set_new(out, names[i].group, in);
			}
		}
		json_object_set_new(in, names[i].name, number(&rq->field[i]));
	}
	json_object_set_new(out, "curr", task_json(&rq->curr));
	return out;
}

int snapshot_to_json(const struct snapshot *s, char **ret_text, size_t *ret_length, struct err *err)
{
	json_t *root = json_pack("{s:i, s:s, s:i, s:s, s:s, s:I, s:I, s:I, s:I, s:i, s:I, s:b, s:i}",
		"schedrig_snapshot", 1, "name", s->name, "sequence", (int)s->sequence, "kernel", s->kernel,
		"build_id", s->build_id, "wall_ns", (json_int_t)s->wall_ns, "park_ns",
		(json_int_t)(s->freeze.parked_ns - s->freeze.asked_ns), "frozen_ns",
		(json_int_t)(s->freeze.thawed_ns ? s->freeze.thawed_ns - s->freeze.parked_ns : 0), "copy_ns",
		(json_int_t)s->copy_ns, "kicks", (int)s->freeze.kicks, "bytes", (json_int_t)s->bytes,
		"complete", s->n_missing == 0 && s->kernel_err.code == ERR_NONE, "missing",
		(int)s->n_missing);

	if (s->kernel_err.code)
		json_object_set_new(root, "kernel_error", error_json(&s->kernel_err));
	if (s->jiffies.present)
		json_object_set_new(root, "jiffies", number(&s->jiffies));
	if (s->parts & SNAPSHOT_BIT(SNAPSHOT_REGISTERS)) {
		json_t *list = json_array();
		for (unsigned i = 0; i < s->n_vcpus; i++)
			json_array_append_new(list, vcpu_json(&s->vcpus[i], i));
		json_object_set_new(root, "vcpus", list);
	}
	if (s->parts & SNAPSHOT_BIT(SNAPSHOT_RUN_QUEUES)) {
		json_t *list = json_array();
		for (unsigned i = 0; i < s->n_rqs; i++)
			json_array_append_new(list, rq_json(&s->rqs[i]));
		json_object_set_new(root, "run_queues", list);
	}
	char *text = json_dumps(root, JSON_INDENT(1));
	json_decref(root);
	if (!text)
		return err_set(err, ERR_HOST, "cannot render snapshot '%s': out of memory", s->name);
	*ret_text = text;
	*ret_length = strlen(text);
	return 0;
}

int snapshot_write(
	const struct snapshot *s, const char *directory, char *ret_path, size_t size, struct err *err)
{
	_cleanup_strbuf_ struct strbuf path = STRBUF_INIT;
	_cleanup_free_ char *text = NULL;
	size_t length;
	int rc;

	strbuf_printf(&path, "%s/", directory);
	for (const char *c = s->name; *c; c++) {
		bool plain = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
			     (*c >= '0' && *c <= '9') || *c == '-' || *c == '_' ||
			     (*c == '.' && c != s->name);
		if (plain)
			strbuf_add(&path, c, 1);
		else
			strbuf_printf(&path, "%%%02X", (unsigned char)*c);
	}
	strbuf_printf(&path, ".%u.json", s->sequence);
	if (path.broken)
		return err_set(err, ERR_HOST, "out of memory");
	rc = snapshot_to_json(s, &text, &length, err);
	if (rc == 0)
		rc = fd_mkdir_p(directory, 0755, err);
	if (rc == 0)
		rc = fd_replace_file(strbuf_str(&path), text, length, 0644, err);
	if (rc < 0)
		return err_wrap(err, "snapshot '%s'", s->name);
	if (ret_path)
		snprintf(ret_path, size, "%s", strbuf_str(&path));
	return 0;
}
