/* Chains: the records that one command causes in one partition, one hashed into the next; and all that an accepted
 * command causes, in one step. messages/frames.py and Encoder in messages/envelope.py are the reference; `None`
 * from here means: not as usual, ask them.
 */
#include "native.h"

typedef struct {
    State *state;
    PyObject *types, *values, *ids, *key;
    PyObject *known;                /* list of ids that were made before, None where not; or NULL */
    PyTypeObject *output;
    PyObject *topic, *partition, *receipt;
    PyObject *piece[PIECES];        /* PREV is owned, and moves on; CE_ID is set per record */
    int64_t revision, index;
    PyObject *outputs, *receipts;
} Chain;

/* The id of event number `n` of a command. */
static PyObject *event_id(State *state, PyObject *namespace, Py_ssize_t n) {
    char name[20], *at = name + sizeof(name);
    do *--at = (char)('0' + n % 10);
    while ((n /= 10) > 0);
    return usance_uuid5_of(state, PyBytes_AS_STRING(namespace), 16, at, name + sizeof(name) - at);
}

static PyObject *id_of(Chain *chain, Py_ssize_t n) {
    if (PyBytes_GET_SIZE(chain->ids) == 36) return Py_NewRef(chain->ids);
    PyObject *known = chain->known != NULL && n < PyList_GET_SIZE(chain->known) ? PyList_GET_ITEM(chain->known, n) : Py_None;
    return known != Py_None ? Py_NewRef(known) : event_id(chain->state, chain->ids, n);
}

static int lengthen(Chain *chain, PyObject *digest) {
    unsigned char both[64], tail[32];
    memcpy(both, PyBytes_AS_STRING(chain->piece[PREV]), 32);
    memcpy(both + 32, PyBytes_AS_STRING(digest), 32);
    usance_sha(both, sizeof(both), tail);
    PyObject *next = PyBytes_FromStringAndSize((const char *)tail, sizeof(tail));
    if (next == NULL) return -1;
    Py_SETREF(chain->piece[PREV], next);
    return 0;
}

static int give_out(Chain *chain, PyObject *value, PyObject *headers) {
    PyObject *output = chain->output->tp_alloc(chain->output, 5);
    if (output == NULL) return -1;
    PyTuple_SET_ITEM(output, 0, Py_NewRef(chain->topic));
    PyTuple_SET_ITEM(output, 1, Py_NewRef(chain->partition));
    PyTuple_SET_ITEM(output, 2, Py_NewRef(chain->key));
    PyTuple_SET_ITEM(output, 3, Py_NewRef(value));
    PyTuple_SET_ITEM(output, 4, Py_NewRef(headers));
    PyObject_GC_UnTrack(output);    /* texts, bytes and a number: nothing to walk */
    int done = PyList_Append(chain->outputs, output);
    Py_DECREF(output);
    return done;
}

static int acknowledge(Chain *chain, int64_t index, PyObject *digest) {
    if (chain->receipt == Py_None) return 0;
    PyObject *number = PyLong_FromLongLong(index);
    if (number == NULL) return -1;
    PyObject *call[] = {chain->partition, number, digest};
    PyObject *receipt = PyObject_Vectorcall(chain->receipt, call, 0, chain->state->receipt_names);
    int done = receipt == NULL ? -1 : PyList_Append(chain->receipts, receipt);
    Py_XDECREF(receipt);
    Py_DECREF(number);
    return done;
}

static int put_record(Chain *chain, Py_ssize_t n) {
    PyObject *type = PyList_GET_ITEM(chain->types, n), *value = PyList_GET_ITEM(chain->values, n);
    if (!PyTuple_Check(type) || PyTuple_GET_SIZE(type) < 3 || !usance_is_value(value)) return -1;
    for (int i = 0; i < 3; i++) chain->piece[HASHED + i] = PyTuple_GET_ITEM(type, i);
    if (!usance_are_pieces(chain->piece, HASHED, TAIL + 1)) return -1;
    PyObject *headers, *digest, *id = id_of(chain, n);
    if (id == NULL) return -1;
    chain->piece[CE_ID] = id;
    int64_t index = chain->index + n;
    int done = usance_seal_record(chain->state, chain->piece, value, chain->revision + n, index, &headers, &digest);
    Py_DECREF(id);
    if (done < 0) return -1;
    if (PyBytes_GET_SIZE(digest) != 32 || give_out(chain, value, headers) < 0
        || acknowledge(chain, index, digest) < 0 || lengthen(chain, digest) < 0)
        done = -1;
    Py_DECREF(headers);
    Py_DECREF(digest);
    return done;
}

static bool understood(Chain *chain, PyObject *const *args) {
    static const int64_t FAR = INT64_MAX / 2;
    if (!PyList_CheckExact(args[0]) || !PyList_CheckExact(args[1]) || !PyBytes_CheckExact(args[2])
        || PyList_GET_SIZE(args[0]) != PyList_GET_SIZE(args[1]) || !PyTuple_CheckExact(args[5])
        || PyTuple_GET_SIZE(args[5]) != 5 || !(args[6] == Py_None || PyBytes_CheckExact(args[6]))
        || !PyTuple_CheckExact(args[10]) || PyTuple_GET_SIZE(args[10]) != 3)
        return false;
    Py_ssize_t id = PyBytes_GET_SIZE(args[2]);
    PyObject *output = PyTuple_GET_ITEM(args[10], 0);
    if ((id != 16 && (id != 36 || PyList_GET_SIZE(args[0]) != 1)) || !usance_is_plain(output)) return false;
    *chain = (Chain){.types = args[0], .values = args[1], .ids = args[2], .key = args[6],
                     .output = (PyTypeObject *)output, .topic = PyTuple_GET_ITEM(args[10], 1),
                     .partition = PyTuple_GET_ITEM(args[10], 2), .receipt = args[11]};
    if (!PyUnicode_CheckExact(chain->topic) || !PyLong_CheckExact(chain->partition)) return false;
    chain->piece[HEAD] = args[3];
    chain->piece[MIDDLE] = args[4];
    for (int i = 0; i < 5; i++) chain->piece[F_START + i] = PyTuple_GET_ITEM(args[5], i);
    chain->piece[PREV] = args[9];
    return usance_are_pieces(chain->piece, HEAD, F_END + 1) && PyBytes_CheckExact(args[9])
        && PyBytes_GET_SIZE(args[9]) == 32 && usance_is_number(args[7], &chain->revision)
        && usance_is_number(args[8], &chain->index) && chain->revision < FAR && chain->index < FAR;
}

/* Makes all records; a new reference to (outputs, receipts, prev), or NULL. */
static PyObject *chained(Chain *chain) {
    Py_INCREF(chain->piece[PREV]);
    chain->outputs = PyList_New(0);
    chain->receipts = PyList_New(0);
    int done = chain->outputs == NULL || chain->receipts == NULL ? -1 : 0;
    for (Py_ssize_t n = 0; done == 0 && n < PyList_GET_SIZE(chain->types); n++)
        done = n < PyList_GET_SIZE(chain->values) ? put_record(chain, n) : -1;
    PyObject *made = done < 0 ? NULL : PyTuple_Pack(3, chain->outputs, chain->receipts, chain->piece[PREV]);
    Py_XDECREF(chain->outputs);
    Py_XDECREF(chain->receipts);
    Py_DECREF(chain->piece[PREV]);
    return made;
}

static PyObject *made_or_none(PyObject *made) {
    if (made != NULL || grave()) return made;
    PyErr_Clear();
    Py_RETURN_NONE;
}

/* chain(types, values, ids, head, middle, frame, key, revision, index, prev, to, receipt)
 * -> (outputs, receipts, prev), or None: see messages/frames.py */
PyObject *usance_chain(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    Chain chain;
    if (count != 12 || !understood(&chain, args)) Py_RETURN_NONE;
    chain.state = PyModule_GetState(module);
    return made_or_none(chained(&chain));
}

/* All that an accepted command causes in its partition, in one step: its events, and the outcome behind them. */

enum { D_TYPES, D_EVENTS, D_VALUES, D_SPLICES, D_NAMESPACE, D_HEAD, D_META, D_POSITION, D_SOURCE, D_TIME, D_STREAM,
       D_STARTS, D_END, D_REVISION, D_INDEX, D_PREV, D_TO, D_NEXT, D_LAST, D_ANSWERS_TO, D_INSTANT, D_OUTCOME, D_SEALING,
       D_COUNT };

/* What events are sealed with, as Encoder.decided makes it: tables of keys by Kinds, uses by key id, those of before,
 * nonces, the tenant's prefix. */
enum { S_ACTIVE, S_USES, S_SEEN, S_POOL, S_TENANT, S_COUNT };

/* What surrounds both, new references. */
typedef struct {
    PyObject *module, *const *args;
    State *state;
    PyObject *part[6];          /* correlation, causation, command id, body hash; partition, offset */
    PyObject *middle, *types, *values, *ids;
    Seal seal;
} Decided;

static int look_up(Decided *now) {
    PyObject *meta = now->args[D_META], *position = now->args[D_POSITION];
    for (int i = 0; i < 6; i++)
        if ((now->part[i] = PyObject_GetAttr(i < 4 ? meta : position, now->state->cause_names[i])) == NULL) return -1;
    now->middle = usance_cause(now->module, now->part, 6);
    if (now->middle == Py_None) Py_CLEAR(now->middle);
    return now->middle == NULL ? -1 : 0;
}

static bool is_sealing(PyObject *given) {
    return PyTuple_CheckExact(given) && PyTuple_GET_SIZE(given) == S_COUNT && PyDict_CheckExact(PyTuple_GET_ITEM(given, S_ACTIVE))
        && PyDict_CheckExact(PyTuple_GET_ITEM(given, S_USES)) && PyDict_CheckExact(PyTuple_GET_ITEM(given, S_SEEN))
        && PyList_CheckExact(PyTuple_GET_ITEM(given, S_POOL));
}

/* Makes ready what is the same for all events of a command. */
static int prepare_seal(Decided *now) {
    PyObject *given = now->args[D_SEALING], *stream = now->args[D_STREAM];
    if (!is_sealing(given) || !PyBytes_CheckExact(stream)) return -1;
    now->seal.counted = PyList_New(0);
    if (now->seal.counted == NULL) return -1;
    now->seal.owner = stream;
    now->seal.uses = PyTuple_GET_ITEM(given, S_USES);
    now->seal.seen = PyTuple_GET_ITEM(given, S_SEEN);
    now->seal.pool = PyTuple_GET_ITEM(given, S_POOL);
    return 0;
}

/* Writes event `n` with its blocks sealed; NULL where a key is not at hand, or anything else is unusual. */
static PyObject *sealed_event(Decided *now, PyObject *event, PyObject *type, PyObject *kinds, PyObject *id, Py_ssize_t n) {
    PyObject *writer = PyTuple_GET_ITEM(type, 3), *given = now->args[D_SEALING];
    PyObject *splices = now->args[D_SPLICES] == Py_None ? NULL : now->args[D_SPLICES];
    int64_t revision;
    if (!PyCFunction_CheckExact(writer) || PyCFunction_GET_SELF(writer) == NULL
        || !Py_IS_TYPE(PyCFunction_GET_SELF(writer), now->state->program) || !usance_is_number(now->args[D_REVISION], &revision)
        || (now->seal.counted == NULL && prepare_seal(now) < 0))
        return NULL;
    now->seal.keys = PyDict_GetItemWithError(PyTuple_GET_ITEM(given, S_ACTIVE), kinds);
    now->seal.suffixes = PyObject_GetAttr(kinds, now->state->suffixes);
    PyObject *value = NULL;
    if (now->seal.keys != NULL && PyTuple_CheckExact(now->seal.keys) && now->seal.suffixes != NULL
        && PyTuple_CheckExact(now->seal.suffixes)
        && usance_bind_record(&now->seal.record, PyTuple_GET_ITEM(given, S_TENANT), now->args[D_STREAM], revision + n, id) == 0)
        value = usance_write_sealed((Program *)PyCFunction_GET_SELF(writer), event, PyTuple_GET_ITEM(type, 4), splices,
                                    &now->seal);
    usance_unbind(&now->seal.record);
    now->seal.record.heap = NULL;
    Py_CLEAR(now->seal.suffixes);
    return value;
}

/* Seals what is private in an event, and remembers its id, which the blocks are bound to. */
static PyObject *write_sealed_event(Decided *now, PyObject *event, PyObject *type, PyObject *namespace, Py_ssize_t n) {
    PyObject *id = event_id(now->state, namespace, n);
    PyObject *value = id == NULL ? NULL : sealed_event(now, event, type, PyTuple_GET_ITEM(type, 7), id, n);
    if (value != NULL && PyList_Append(now->ids, id) < 0) Py_CLEAR(value);
    Py_XDECREF(id);
    return value;
}

static PyObject *write_clear_event(Decided *now, PyObject *event, PyObject *type) {
    PyObject *splices = now->args[D_SPLICES];
    if (PyList_Append(now->ids, Py_None) < 0) return NULL;
    PyObject *call[] = {event, PyTuple_GET_ITEM(type, 4), splices};
    return PyObject_Vectorcall(PyTuple_GET_ITEM(type, 3), call, splices == Py_None ? 2 : 3, NULL);
}

/* Writes the events, unless they were written before because C could not seal them. */
static int write_events(Decided *now, PyObject *namespace) {
    PyObject *events = now->args[D_EVENTS];
    bool written = now->args[D_VALUES] != Py_None, seals = now->args[D_SEALING] != Py_None;
    now->types = PyList_New(0);
    now->ids = PyList_New(0);
    now->values = written ? Py_NewRef(now->args[D_VALUES]) : PyList_New(0);
    if (now->types == NULL || now->values == NULL || now->ids == NULL) return -1;
    for (Py_ssize_t n = 0; n < PyTuple_GET_SIZE(events); n++) {
        PyObject *event = PyTuple_GET_ITEM(events, n);
        PyObject *type = PyDict_GetItemWithError(now->args[D_TYPES], (PyObject *)Py_TYPE(event));
        if (type == NULL || !PyTuple_Check(type) || PyTuple_GET_SIZE(type) < 8 || PyList_Append(now->types, type) < 0)
            return -1;
        if (written) continue;
        bool private = PyTuple_GET_ITEM(type, 7) != Py_None;
        if (private && !seals) return -1;   /* what must be sealed is never written in clear */
        PyObject *value = private ? write_sealed_event(now, event, type, namespace, n) : write_clear_event(now, event, type);
        int done = value == NULL ? -1 : PyList_Append(now->values, value);
        Py_XDECREF(value);
        if (done < 0) return -1;
    }
    return 0;
}

static bool is_piece(PyObject *piece) {
    return PyTuple_CheckExact(piece) && PyTuple_GET_SIZE(piece) == 3 && PyBytes_CheckExact(PyTuple_GET_ITEM(piece, 1))
        && PyBytes_CheckExact(PyTuple_GET_ITEM(piece, 2));
}

static PyObject *run_chain(Decided *now, PyObject *types, PyObject *values, PyObject *ids, PyObject *key,
                           PyObject *subject, PyObject *revision, int start, int index, PyObject *receipt,
                           PyObject *known) {
    PyObject *const *args = now->args;
    PyObject *source = args[D_SOURCE], *time = args[D_TIME];
    PyObject *around[] = {PyTuple_GET_ITEM(source, 2), PyTuple_GET_ITEM(source, 1), PyTuple_GET_ITEM(time, 2),
                          PyTuple_GET_ITEM(time, 1), key, subject, PyTuple_GET_ITEM(args[D_STARTS], start), args[D_END]};
    PyObject *frame = usance_frame(now->module, around, 8), *made = NULL;
    PyObject *parts[] = {types, values, ids, args[D_HEAD], now->middle, frame, key, revision, args[index],
                         args[index + 1], args[index + 2], receipt};
    Chain chain;
    if (frame != NULL && understood(&chain, parts)) {
        chain.state = now->state;
        chain.known = known;
        made = chained(&chain);
    }
    Py_XDECREF(frame);
    return made;
}

static PyObject *run_events(Decided *now) {
    PyObject *ids = usance_namespace(now->module, now->part[2]), *made = NULL;
    if (ids != NULL && ids != Py_None && write_events(now, ids) == 0)
        made = run_chain(now, now->types, now->values, ids, now->args[D_STREAM], now->args[D_STREAM],
                         now->args[D_REVISION], 0, D_INDEX, PyTuple_GET_ITEM(now->args[D_OUTCOME], 2), now->ids);
    Py_XDECREF(ids);
    return made;
}

/* The outcome as an object: for whoever waits for it, and for the writer. */
static PyObject *outcome_of(Decided *now, PyObject *receipts) {
    int64_t revision;
    if (!usance_is_number(now->args[D_REVISION], &revision)) return NULL;
    PyObject *last = PyLong_FromLongLong(revision - 1 + PyTuple_GET_SIZE(now->args[D_EVENTS]));
    if (last == NULL) return NULL;
    PyObject *call[] = {now->part[2], now->part[3], now->state->accepted, now->args[D_INSTANT], receipts, last};
    PyObject *cls = PyTuple_GET_ITEM(now->args[D_OUTCOME], 1);
    PyObject *outcome = PyObject_Vectorcall(cls, call, 0, now->state->outcome_names);
    Py_DECREF(last);
    return outcome;
}

static PyObject *outcome_id(Decided *now) {
    static const char END[] = "/outcome";
    int64_t partition, offset;
    char name[64], *at = name + sizeof(name);
    if (!usance_is_number(now->part[4], &partition) || !usance_is_number(now->part[5], &offset) || partition < 0 || offset < 0)
        return NULL;
    at -= sizeof(END) - 1;
    memcpy(at, END, sizeof(END) - 1);
    do *--at = (char)('0' + offset % 10);
    while ((offset /= 10) > 0);
    *--at = '/';
    do *--at = (char)('0' + partition % 10);
    while ((partition /= 10) > 0);
    return usance_uuid5_of(now->state, PyBytes_AS_STRING(now->args[D_NAMESPACE]), 16, at, name + sizeof(name) - at);
}

static PyObject *run_outcome(Decided *now, PyObject *outcome) {
    PyObject *type = PyTuple_GET_ITEM(now->args[D_OUTCOME], 0), *made = NULL;
    if (!PyTuple_Check(type) || PyTuple_GET_SIZE(type) < 5 || !PyUnicode_IS_COMPACT_ASCII(now->part[2])) return NULL;
    PyObject *call[] = {outcome, PyTuple_GET_ITEM(type, 4)};
    PyObject *value = PyObject_Vectorcall(PyTuple_GET_ITEM(type, 3), call, 2, NULL);
    PyObject *key = PyUnicode_AsASCIIString(now->part[2]), *id = outcome_id(now), *minus = PyLong_FromLong(-1);
    PyObject *types = PyList_New(1), *values = PyList_New(1);
    if (value && key && id && minus && types && values) {
        PyList_SET_ITEM(types, 0, Py_NewRef(type));
        PyList_SET_ITEM(values, 0, Py_NewRef(value));
        made = run_chain(now, types, values, id, key, Py_None, minus, 1, D_NEXT, Py_None, NULL);
    }
    Py_XDECREF(value);
    Py_XDECREF(key);
    Py_XDECREF(id);
    Py_XDECREF(minus);
    Py_XDECREF(types);
    Py_XDECREF(values);
    return made;
}

static PyObject *all_of(Decided *now) {
    PyObject *events = look_up(now) < 0 ? NULL : run_events(now);
    PyObject *outcome = events == NULL ? NULL : outcome_of(now, PyTuple_GET_ITEM(events, 1));
    PyObject *answer = outcome == NULL ? NULL : run_outcome(now, outcome), *made = NULL;
    if (answer != NULL)
        made = PyTuple_Pack(6, PyTuple_GET_ITEM(events, 0), PyTuple_GET_ITEM(events, 1), PyTuple_GET_ITEM(events, 2),
                            outcome, PyTuple_GET_ITEM(answer, 0), PyTuple_GET_ITEM(answer, 2));
    Py_XDECREF(events);
    Py_XDECREF(outcome);
    Py_XDECREF(answer);
    return made;
}

/* decided(types, events, values, splices, namespace, head, meta, position, source, time, stream, starts, end,
 * revision, index, prev, to, outcome's index, prev, to, instant, (its type, Outcome, Receipt), sealing or None)
 * -> (outputs, receipts, prev, outcome, its outputs, its prev), or None: see Encoder.decided */
PyObject *usance_decided(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    if (count != D_COUNT || !PyDict_CheckExact(args[D_TYPES]) || !PyTuple_CheckExact(args[D_EVENTS])
        || !is_piece(args[D_SOURCE]) || !is_piece(args[D_TIME]) || !PyTuple_CheckExact(args[D_STARTS])
        || PyTuple_GET_SIZE(args[D_STARTS]) != 2 || !PyBytes_CheckExact(args[D_NAMESPACE])
        || PyBytes_GET_SIZE(args[D_NAMESPACE]) != 16 || !PyTuple_CheckExact(args[D_OUTCOME])
        || PyTuple_GET_SIZE(args[D_OUTCOME]) != 3)
        Py_RETURN_NONE;
    Decided now = {.module = module, .args = args, .state = PyModule_GetState(module)};
    PyObject *made = all_of(&now);
    if (made == NULL && now.seal.counted != NULL) usance_uncount(&now.seal);
    for (int i = 0; i < 6; i++) Py_XDECREF(now.part[i]);
    Py_XDECREF(now.middle);
    Py_XDECREF(now.types);
    Py_XDECREF(now.values);
    Py_XDECREF(now.ids);
    Py_XDECREF(now.seal.counted);
    return made_or_none(made);
}

