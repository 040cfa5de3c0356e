/* Records as the embedded log keeps them: a run of rows into records, outputs into one packed body.
 *
 * adapters/sqlite_rows.py is the reference; `None` from here means: not as usual, ask it.
 */
#include "native.h"

#define PAIRS_MAX 15
#define LENGTHS 24
#define FIELDS 5

/* The header that the record before had at the same place, and its packed bytes. */
typedef struct {
    const unsigned char *at;
    Py_ssize_t size;
    PyObject *pair;
} Known;

/* Tells how long a packed header is; -1 when it is no array of a short text and bytes. */
static Py_ssize_t pair_size(const unsigned char *at, Py_ssize_t left, Py_ssize_t *name, Py_ssize_t *value) {
    if (left < 4 || at[0] != 0x92 || (at[1] & 0xe0) != 0xa0) return -1;
    *name = at[1] & 31;
    const unsigned char *mark = at + 2 + *name;
    left -= 2 + *name;
    Py_ssize_t head;
    if (left >= 2 && mark[0] == 0xc4) {
        head = 2;
        *value = mark[1];
    } else if (left >= 3 && mark[0] == 0xc5) {
        head = 3;
        *value = (Py_ssize_t)mark[1] << 8 | mark[2];
    } else if (left >= 5 && mark[0] == 0xc6) {
        head = 5;
        *value = (Py_ssize_t)mark[1] << 24 | (Py_ssize_t)mark[2] << 16 | (Py_ssize_t)mark[3] << 8 | mark[4];
    } else {
        return -1;
    }
    return left - head < *value ? -1 : 2 + *name + head + *value;
}

/* Texts and bytes hold nothing, and neither do tuples of them: the collector need not walk them. */
static PyObject *settled(PyObject *tuple) {
    if (PyObject_GC_IsTracked(tuple)) PyObject_GC_UnTrack(tuple);
    return tuple;
}

static PyObject *pair_of(State *state, const unsigned char *at, Py_ssize_t name, const unsigned char *value,
                         Py_ssize_t size) {
    PyObject *first = usance_text(state, at + 2, name);
    PyObject *second = first == NULL ? NULL : PyBytes_FromStringAndSize((const char *)value, size);
    PyObject *pair = second == NULL ? NULL : PyTuple_Pack(2, first, second);
    Py_XDECREF(first);
    Py_XDECREF(second);
    return pair == NULL ? NULL : settled(pair);
}

/* Unpacks headers; what a record shares with the one before it is the same object. */
static PyObject *headers_of(State *state, const unsigned char *at, Py_ssize_t left, Known *known) {
    if (left == 0) return PyTuple_New(0);
    if ((*at & 0xf0) != 0x90) return NULL;
    Py_ssize_t count = *at & 15;
    at++;
    left--;
    PyObject *headers = PyTuple_New(count);
    for (Py_ssize_t i = 0; headers != NULL && i < count; i++) {
        Py_ssize_t name, value, size = pair_size(at, left, &name, &value);
        if (size < 0) {
            Py_CLEAR(headers);
            break;
        }
        if (known[i].pair == NULL || known[i].size != size || memcmp(known[i].at, at, (size_t)size) != 0) {
            PyObject *pair = pair_of(state, at, name, at + size - value, value);
            if (pair == NULL) {
                Py_CLEAR(headers);
                break;
            }
            Py_XSETREF(known[i].pair, pair);
            known[i].size = size;
        }
        known[i].at = at;
        PyTuple_SET_ITEM(headers, i, Py_NewRef(known[i].pair));
        at += size;
        left -= size;
    }
    if (headers != NULL && left != 0) Py_CLEAR(headers);
    return headers == NULL || count == 0 ? headers : settled(headers);
}

typedef struct {
    State *state;
    PyTypeObject *record;
    PyObject *topic, *partition;
    PyObject *lists[FIELDS];    /* offsets, times, lengths of keys, headers, values */
    const unsigned char *at, *end;
    Known known[PAIRS_MAX];
} Run;

/* Takes the next bytes whose length a list tells; None where it tells None. */
static PyObject *taken(Run *run, int list, Py_ssize_t i) {
    PyObject *length = PyList_GET_ITEM(run->lists[list], i);
    if (length == Py_None) return Py_NewRef(Py_None);
    Py_ssize_t size = PyLong_CheckExact(length) ? PyLong_AsSsize_t(length) : -1;
    if (size < 0 || size > run->end - run->at) return NULL;
    const unsigned char *at = run->at;
    run->at += size;
    if (list == 3) return headers_of(run->state, at, size, run->known);
    return PyBytes_FromStringAndSize((const char *)at, size);
}

static PyObject *record_of(Run *run, Py_ssize_t i) {
    if (PyList_GET_ITEM(run->lists[3], i) == Py_None) return NULL;
    PyObject *key = taken(run, 2, i), *headers = key ? taken(run, 3, i) : NULL;
    PyObject *value = headers ? taken(run, 4, i) : NULL;
    PyObject *record = value ? run->record->tp_alloc(run->record, 7) : NULL;
    if (record == NULL) {
        Py_XDECREF(key);
        Py_XDECREF(headers);
        Py_XDECREF(value);
        return NULL;
    }
    PyTuple_SET_ITEM(record, 0, Py_NewRef(run->topic));
    PyTuple_SET_ITEM(record, 1, Py_NewRef(run->partition));
    PyTuple_SET_ITEM(record, 2, Py_NewRef(PyList_GET_ITEM(run->lists[0], i)));
    PyTuple_SET_ITEM(record, 3, key);
    PyTuple_SET_ITEM(record, 4, value);
    PyTuple_SET_ITEM(record, 5, headers);
    PyTuple_SET_ITEM(record, 6, Py_NewRef(PyList_GET_ITEM(run->lists[1], i)));
    return settled(record);
}

bool usance_is_plain(PyObject *type) {
    return PyType_Check(type) && PyType_IsSubtype((PyTypeObject *)type, &PyTuple_Type)
        && ((PyTypeObject *)type)->tp_basicsize == PyTuple_Type.tp_basicsize;
}

/* records(Record, topic, partition, offsets, times, keys, heads, values, body) -> records, or None */
PyObject *usance_records(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    if (count != 9 || !usance_is_plain(args[0]) || !PyUnicode_CheckExact(args[1]) || !PyLong_CheckExact(args[2])
        || !PyBytes_CheckExact(args[8]))
        Py_RETURN_NONE;
    Run run = {.state = PyModule_GetState(module), .record = (PyTypeObject *)args[0],
               .topic = args[1], .partition = args[2]};
    for (int i = 0; i < FIELDS; i++) {
        run.lists[i] = args[3 + i];
        if (!PyList_CheckExact(args[3 + i]) || PyList_GET_SIZE(args[3 + i]) != PyList_GET_SIZE(args[3]))
            Py_RETURN_NONE;
    }
    run.at = (const unsigned char *)PyBytes_AS_STRING(args[8]);
    run.end = run.at + PyBytes_GET_SIZE(args[8]);
    Py_ssize_t rows = PyList_GET_SIZE(args[3]);
    PyObject *records = PyList_New(rows);
    for (Py_ssize_t i = 0; records != NULL && i < rows; i++) {
        PyObject *record = record_of(&run, i);
        if (record == NULL) Py_CLEAR(records);
        else PyList_SET_ITEM(records, i, record);
    }
    for (int i = 0; i < PAIRS_MAX; i++) Py_XDECREF(run.known[i].pair);
    if (records != NULL || grave()) return records;
    PyErr_Clear();
    Py_RETURN_NONE;
}

/* Packing: outputs are grouped by place, in their order; sizes first, so that nothing is copied twice. */

typedef struct {
    PyObject *topic, *partition;    /* borrowed of an output */
    Py_ssize_t size, count, at;
} Group;

typedef struct {
    PyObject *outputs, *pack_headers;
    Py_ssize_t most;                /* bytes of a record */
    Group *groups;
    Py_ssize_t known, last;
    Py_ssize_t *which;              /* the group of each output */
    PyObject **heads;               /* its packed headers, owned */
} Plan;

static bool is_place(const Group *group, PyObject *topic, PyObject *partition) {
    if (group->topic == topic && group->partition == partition) return true;
    return PyUnicode_Compare(group->topic, topic) == 0
        && PyObject_RichCompareBool(group->partition, partition, Py_EQ) == 1;
}

static int group_of(Plan *plan, PyObject *topic, PyObject *partition) {
    if (!PyUnicode_CheckExact(topic) || !PyLong_CheckExact(partition)) return -1;
    if (plan->known && is_place(&plan->groups[plan->last], topic, partition)) return 0;
    for (plan->last = 0; plan->last < plan->known; plan->last++)
        if (is_place(&plan->groups[plan->last], topic, partition)) return 0;
    Group *moved = PyMem_Realloc(plan->groups, (size_t)(plan->known + 1) * sizeof(Group));
    if (moved == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    plan->groups = moved;
    plan->groups[plan->known++] = (Group){topic, partition, 0, 0, 0};
    return 0;
}

static Py_ssize_t size_of(PyObject *bytes) {
    if (bytes == Py_None) return 0;
    return PyBytes_CheckExact(bytes) ? PyBytes_GET_SIZE(bytes) : -1;
}

/* Finds an output's group and adds its size; -1 when it is over a bound, or no usual output. */
static int count_in(Plan *plan, Py_ssize_t i) {
    PyObject *output = PyTuple_GET_ITEM(plan->outputs, i);
    if (!PyTuple_Check(output) || PyTuple_GET_SIZE(output) != 5) return -1;
    PyObject *headers = PyTuple_GET_ITEM(output, 4);
    plan->heads[i] = PyBytes_CheckExact(headers) ? Py_NewRef(headers)
                                                 : PyObject_CallOneArg(plan->pack_headers, headers);
    if (plan->heads[i] == NULL || !PyBytes_CheckExact(plan->heads[i])) return -1;
    Py_ssize_t k = size_of(PyTuple_GET_ITEM(output, 2)), h = size_of(plan->heads[i]);
    Py_ssize_t v = size_of(PyTuple_GET_ITEM(output, 3));
    if (k < 0 || v < 0 || k > plan->most || h > plan->most || v > plan->most || k + h + v > plan->most) return -1;
    if (group_of(plan, PyTuple_GET_ITEM(output, 0), PyTuple_GET_ITEM(output, 1)) < 0) return -1;
    Group *group = &plan->groups[plan->which[i] = plan->last];
    group->size += LENGTHS + k + h + v;
    group->count++;
    return 0;
}

static char *put_length(char *at, PyObject *bytes) {
    Py_ssize_t n = bytes == Py_None ? 1 : PyBytes_GET_SIZE(bytes);
    char *digit = at + 8;
    do *--digit = (char)('0' + n % 10);
    while ((n /= 10) > 0);
    if (bytes == Py_None) *--digit = '-';
    while (digit > at) *--digit = ' ';
    return at + 8;
}

static char *put_bytes(char *at, PyObject *bytes) {
    if (bytes == Py_None) return at;
    memcpy(at, PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes));
    return at + PyBytes_GET_SIZE(bytes);
}

static void put_output(char *at, PyObject *output, PyObject *head) {
    PyObject *key = PyTuple_GET_ITEM(output, 2), *value = PyTuple_GET_ITEM(output, 3);
    at = put_length(put_length(put_length(at, key), head), value);
    put_bytes(put_bytes(put_bytes(at, key), head), value);
}

static PyObject *body_of(Plan *plan, Py_ssize_t total) {
    PyObject *body = PyBytes_FromStringAndSize(NULL, total);
    Py_ssize_t start = 0;
    for (Py_ssize_t i = 0; body != NULL && i < plan->known; i++) {
        plan->groups[i].at = start;
        start += plan->groups[i].size;
    }
    for (Py_ssize_t i = 0; body != NULL && i < PyTuple_GET_SIZE(plan->outputs); i++) {
        PyObject *output = PyTuple_GET_ITEM(plan->outputs, i);
        Group *group = &plan->groups[plan->which[i]];
        put_output(PyBytes_AS_STRING(body) + group->at, output, plan->heads[i]);
        group->at += LENGTHS + size_of(PyTuple_GET_ITEM(output, 2)) + size_of(plan->heads[i])
            + size_of(PyTuple_GET_ITEM(output, 3));
    }
    return body;
}

static PyObject *packed(Plan *plan) {
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(plan->outputs); i++)
        if (count_in(plan, i) < 0) return NULL;
    PyObject *places = PyList_New(plan->known);
    Py_ssize_t total = 0;
    for (Py_ssize_t i = 0; places != NULL && i < plan->known; i++) {
        Group *group = &plan->groups[i];
        PyObject *place = Py_BuildValue("OOnn", group->topic, group->partition, group->size, group->count);
        if (place == NULL) Py_CLEAR(places);
        else PyList_SET_ITEM(places, i, place);
        total += group->size;
    }
    PyObject *body = places == NULL ? NULL : body_of(plan, total);
    PyObject *both = body == NULL ? NULL : PyTuple_Pack(2, places, body);
    Py_XDECREF(places);
    Py_XDECREF(body);
    return both;
}

/* packed(outputs, pack_headers, most) -> ([(topic, partition, size, count)], body), or None */
PyObject *usance_packed(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    if (count != 3 || !PyTuple_CheckExact(args[0]) || !PyLong_CheckExact(args[2])) Py_RETURN_NONE;
    Plan plan = {.outputs = args[0], .pack_headers = args[1], .most = PyLong_AsSsize_t(args[2])};
    Py_ssize_t n = PyTuple_GET_SIZE(args[0]);
    PyObject *made = NULL;
    plan.which = PyMem_Calloc((size_t)n + 1, sizeof(Py_ssize_t));
    plan.heads = PyMem_Calloc((size_t)n + 1, sizeof(PyObject *));
    if (plan.which == NULL || plan.heads == NULL) PyErr_NoMemory();
    else if (plan.most > 0 && plan.most < 100000000) made = packed(&plan);
    for (Py_ssize_t i = 0; plan.heads != NULL && i < n; i++) Py_XDECREF(plan.heads[i]);
    PyMem_Free(plan.heads);
    PyMem_Free(plan.which);
    PyMem_Free(plan.groups);
    if (made != NULL || grave()) return made;
    PyErr_Clear();
    Py_RETURN_NONE;
}
