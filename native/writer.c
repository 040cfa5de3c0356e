/* Writing: an object along a program's nodes into bytes, the same that fastavro's schemaless writer makes.
 *
 * Looks at exact types only; `-1` without an exception means: not as usual (see native.h).
 */
#include "native.h"

#define STACK 4096

static int write_node(Out *out, const Node *node, PyObject *value);

int usance_room(Out *out, Py_ssize_t more) {
    Py_ssize_t used = out->at - out->start, size = out->end - out->start;
    if (more > PY_SSIZE_T_MAX / 4 - size) {
        PyErr_NoMemory();
        return -1;
    }
    size = size * 2 + more;
    unsigned char *moved = PyMem_Realloc(out->heap, (size_t)size);
    if (moved == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (out->heap == NULL) memcpy(moved, out->start, (size_t)used);
    out->heap = out->start = moved;
    out->at = moved + used;
    out->end = moved + size;
    return 0;
}

/* Holds on to what it writes: a plain dict's keys may be anything, and their `__eq__` may run. */
static int write_held(Out *out, const Node *node, PyObject *value) {
    Py_INCREF(value);
    int done = write_node(out, node, value);
    Py_DECREF(value);
    return done;
}

static inline int put_byte(Out *out, unsigned char byte) { return put(out, &byte, 1); }

static inline int put_sized(Out *out, const void *data, Py_ssize_t size) {
    return put_long(out, size) < 0 ? -1 : put(out, data, size);
}

static int write_text(Out *out, PyObject *text) {
    if (!PyUnicode_CheckExact(text)) return -1;
    if (PyUnicode_IS_COMPACT_ASCII(text))
        return put_sized(out, PyUnicode_1BYTE_DATA(text), PyUnicode_GET_LENGTH(text));
    /* Not AsUTF8AndSize: that would keep the bytes with the text, as long as it lives. */
    PyObject *data = PyUnicode_AsUTF8String(text);
    if (data == NULL) return -1;
    int done = put_sized(out, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data));
    Py_DECREF(data);
    return done;
}

static int write_number(Out *out, PyObject *value) {
    if (!PyLong_CheckExact(value)) return -1;
    int overflow;
    long long n = PyLong_AsLongLongAndOverflow(value, &overflow);
    return overflow ? -1 : put_long(out, n);
}

static int write_float(Out *out, PyObject *value, int size) {
    char data[8];
    if (!PyFloat_CheckExact(value)) return -1;
    double number = PyFloat_AS_DOUBLE(value);
    if ((size == 4 ? PyFloat_Pack4(number, data, 1) : PyFloat_Pack8(number, data, 1)) < 0) return -1;
    return put(out, data, size);
}

static int write_array(Out *out, const Node *node, PyObject *list) {
    if (!PyList_CheckExact(list)) return -1;
    Py_ssize_t count = PyList_GET_SIZE(list);
    if (count == 0) return put_byte(out, 0);
    if (put_long(out, count) < 0) return -1;
    for (Py_ssize_t i = 0; i < count; i++) {
        if (PyList_GET_SIZE(list) != count || write_held(out, node->inner, PyList_GET_ITEM(list, i)) < 0)
            return -1;
    }
    return put_byte(out, 0);
}

static int write_map(Out *out, const Node *node, PyObject *dict) {
    if (!PyDict_CheckExact(dict)) return -1;
    if (PyDict_GET_SIZE(dict) == 0) return put_byte(out, 0);
    if (put_long(out, PyDict_GET_SIZE(dict)) < 0) return -1;
    PyObject *key, *item;
    Py_ssize_t at = 0;
    while (PyDict_Next(dict, &at, &key, &item))
        if (write_text(out, key) < 0 || write_held(out, node->inner, item) < 0) return -1;
    return put_byte(out, 0);
}

/* Counts one more use of a key that was used before; 0 when it was not. */
static int count_use(Seal *seal, PyObject *key_id) {
    PyObject *known = PyDict_GetItemWithError(seal->uses, key_id);
    long before = known == NULL ? 0 : PyLong_AsLong(known);
    if (known == NULL && !PyErr_Occurred()) known = PyDict_GetItemWithError(seal->seen, key_id);
    if (PyErr_Occurred()) return -1;
    if (known == NULL) return 0;
    PyObject *more = PyLong_FromLong(before + 1);
    int done = more == NULL || PyDict_SetItem(seal->uses, key_id, more) < 0
            || (seal->counted != NULL && PyList_Append(seal->counted, key_id) < 0) ? -1 : 1;
    Py_XDECREF(more);
    return done;
}

/* Takes uses back of blocks that go nowhere: they are sealed anew. */
void usance_uncount(Seal *seal) {
    PyObject *type, *error, *trace;
    PyErr_Fetch(&type, &error, &trace);
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(seal->counted); i++) {
        PyObject *key_id = PyList_GET_ITEM(seal->counted, i), *known = PyDict_GetItemWithError(seal->uses, key_id);
        long before = known == NULL ? 0 : PyLong_AsLong(known);
        PyObject *less = before > 1 ? PyLong_FromLong(before - 1) : NULL;
        if (less != NULL) PyDict_SetItem(seal->uses, key_id, less);
        else if (before == 1) PyDict_DelItem(seal->uses, key_id);
        Py_XDECREF(less);
    }
    PyErr_Clear();      /* too many uses are counted then, which does no harm */
    PyErr_Restore(type, error, trace);
}

static PyObject *next_nonce(PyObject *pool) {
    Py_ssize_t count = PyList_GET_SIZE(pool);
    if (count == 0) return NULL;
    PyObject *nonce = Py_NewRef(PyList_GET_ITEM(pool, count - 1));
    if (PyList_SetSlice(pool, count - 1, count, NULL) < 0 || !PyBytes_CheckExact(nonce)
        || PyBytes_GET_SIZE(nonce) != SEAL_NONCE)
        Py_CLEAR(nonce);
    return nonce;
}

static Bound bound_by(const Seal *seal, Py_ssize_t number, const char *head) {
    PyObject *suffix = PyTuple_GET_ITEM(seal->suffixes, number);
    return (Bound){seal->record.prefix, seal->record.size, PyBytes_AS_STRING(suffix), PyBytes_GET_SIZE(suffix), head, SEAL_HEAD};
}

/* Makes a sealed block of the Avro that stands at `front`, in its place. */
static int seal_in_place(Out *out, Py_ssize_t front, Cipher *cipher, Py_ssize_t number) {
    PyObject *nonce = next_nonce(out->seal->pool);
    if (nonce == NULL) return -1;
    unsigned char length[10];
    Py_ssize_t size = out->at - out->start - front;
    Py_ssize_t taken = put_raw(length, (uint64_t)(SEAL_OVER + size) << 1) - length, before = taken + SEAL_FRONT;
    int done = out->end - out->at < before + SEAL_TAG && usance_room(out, before + SEAL_TAG) < 0 ? -1 : 0;
    if (done == 0) {
        unsigned char *at = out->start + front;
        memmove(at + before, at, (size_t)size);
        memcpy(at, length, (size_t)taken);
        memcpy(at + taken, cipher->head, SEAL_HEAD);
        memcpy(at + taken + SEAL_HEAD, PyBytes_AS_STRING(nonce), SEAL_NONCE);
        memcpy(at + taken + SEAL_HEAD + SEAL_NONCE, cipher->commit, SEAL_COMMIT);
        Bound to = bound_by(out->seal, number, cipher->head);
        done = usance_gcm_seal(cipher, PyBytes_AS_STRING(nonce), &to, at + before, size);
        out->at = at + before + size + SEAL_TAG;
    }
    Py_DECREF(nonce);
    return done;
}

/* Takes the Avro that stands at `front` away, as an object. */
static PyObject *taken_from(Out *out, Py_ssize_t front) {
    PyObject *plain = PyBytes_FromStringAndSize((char *)out->start + front, out->at - out->start - front);
    out->at = out->start + front;
    return plain;
}

static int put_envelope(Out *out, PyObject *head, PyObject *nonce, PyObject *commit, PyObject *text) {
    if (text == NULL || !PyBytes_CheckExact(text)) return -1;
    Py_ssize_t size = PyBytes_GET_SIZE(text);
    if (put_long(out, SEAL_FRONT + size) < 0 || put(out, PyBytes_AS_STRING(head), SEAL_HEAD) < 0
        || put(out, PyBytes_AS_STRING(nonce), SEAL_NONCE) < 0
        || put(out, PyBytes_AS_STRING(commit), SEAL_COMMIT) < 0)
        return -1;
    return put(out, PyBytes_AS_STRING(text), size);
}

/* The same with a cipher of Python's. */
static int seal_by_object(Out *out, Py_ssize_t front, PyObject *key, Py_ssize_t number) {
    State *state = out->state;
    PyObject *head = usance_part(key, state->head, SEAL_HEAD);
    PyObject *commit = usance_part(key, state->commit, SEAL_COMMIT);
    PyObject *encrypt = PyObject_GetAttr(key, state->encrypt), *nonce = next_nonce(out->seal->pool), *aad = NULL;
    PyObject *text = NULL, *plain = taken_from(out, front);
    if (head != NULL) {
        Bound to = bound_by(out->seal, number, PyBytes_AS_STRING(head));
        aad = usance_aad(&to);
    }
    PyObject *call[] = {nonce, plain, aad};
    if (encrypt != NULL && commit != NULL && nonce != NULL && plain != NULL && aad != NULL)
        text = PyObject_Vectorcall(encrypt, call, 3, NULL);
    int done = text == NULL ? -1 : put_envelope(out, head, nonce, commit, text);
    Py_XDECREF(head);
    Py_XDECREF(commit);
    Py_XDECREF(encrypt);
    Py_XDECREF(nonce);
    Py_XDECREF(aad);
    Py_XDECREF(text);
    Py_XDECREF(plain);
    return done;
}

/* Seals with a key; only one that may protect has `seals`. 0 when the key was not used before. */
static int seal_with(Out *out, Py_ssize_t front, PyObject *key, Py_ssize_t number) {
    PyObject *cipher = PyObject_GetAttr(key, out->state->seals);
    if (cipher == NULL) return -1;
    bool ours = Py_IS_TYPE(cipher, out->state->cipher_type);
    PyObject *key_id = ours ? Py_NewRef(((Cipher *)cipher)->key_id) : PyObject_GetAttr(key, out->state->key_id);
    int done = key_id == NULL ? -1 : count_use(out->seal, key_id);
    if (done > 0)
        done = (ours ? seal_in_place(out, front, (Cipher *)cipher, number) : seal_by_object(out, front, key, number)) < 0 ? -1 : 1;
    Py_XDECREF(key_id);
    Py_DECREF(cipher);
    return done;
}

/* Seals with a key that is at hand and in use; 0 when it is not, or anything else is unusual. */
static int seal_usual(Out *out, Py_ssize_t front, PyObject *subject, Py_ssize_t number) {
    Seal *seal = out->seal;
    if (seal->keys == NULL || number >= PyTuple_GET_SIZE(seal->keys) || number >= PyTuple_GET_SIZE(seal->suffixes)
        || !PyDict_CheckExact(PyTuple_GET_ITEM(seal->keys, number))
        || !PyBytes_CheckExact(PyTuple_GET_ITEM(seal->suffixes, number))
        || out->at - out->start - front > SEAL_MOST || PyList_GET_SIZE(seal->pool) == 0)
        return 0;
    PyObject *whose = subject;
    if (PyUnicode_GET_LENGTH(subject) == 0) {
        if (seal->owner == NULL) return 0;
        whose = PyUnicode_DecodeUTF8(PyBytes_AS_STRING(seal->owner), PyBytes_GET_SIZE(seal->owner), NULL);
    } else {
        Py_INCREF(whose);
    }
    if (whose == NULL) return -1;
    PyObject *key = Py_XNewRef(PyDict_GetItemWithError(PyTuple_GET_ITEM(seal->keys, number), whose));
    Py_DECREF(whose);
    if (key == NULL) return PyErr_Occurred() ? -1 : 0;
    int done = seal_with(out, front, key, number);
    Py_DECREF(key);
    return done;
}

static int seal_unusual(Out *out, Py_ssize_t front, PyObject *subject, Py_ssize_t number) {
    PyObject *unusual = out->seal->unusual;
    if (unusual == NULL) return -1;
    PyObject *which = PyLong_FromSsize_t(number), *plain = taken_from(out, front), *sealed = NULL;
    PyObject *call[] = {which, subject, plain};
    if (which != NULL && plain != NULL) sealed = PyObject_Vectorcall(unusual, call, 3, NULL);
    int done = -1;
    if (sealed != NULL && PyBytes_CheckExact(sealed))
        done = put_sized(out, PyBytes_AS_STRING(sealed), PyBytes_GET_SIZE(sealed));
    Py_XDECREF(which);
    Py_XDECREF(plain);
    Py_XDECREF(sealed);
    return done;
}

/* Writes a block's Avro, and then its sealed bytes in its place. */
static int write_sealed(Out *out, const Block *block, PyObject *inner, PyObject *subject, Py_ssize_t number) {
    Py_ssize_t front = out->at - out->start;
    if (write_node(out, block->node, inner) < 0) return -1;
    int done = seal_usual(out, front, subject, number);
    if (done == 0) done = seal_unusual(out, front, subject, number);
    return done < 0 ? -1 : 0;
}

static int write_block(Out *out, const Block *block, PyObject *inner, Py_ssize_t number) {
    if (!Py_IS_TYPE(inner, block->node->cls)) return -1;
    PyObject *subject = *(PyObject **)((char *)inner + block->subject_at);
    if (subject == NULL || put(out, block->head, block->head_size) < 0 || write_text(out, subject) < 0
        || put(out, block->print, 8) < 0)
        return -1;
    if (out->seal != NULL) return write_sealed(out, block, inner, subject, number);
    /* A body of 64 to 8191 bytes is the rule: room for its length is left in front, and corrected after. */
    Py_ssize_t front = out->at - out->start;
    if (put(out, "\0\0\0", 3) < 0 || write_node(out, block->node, inner) < 0) return -1;
    Py_ssize_t size = out->at - out->start - front - 2;
    unsigned char length[10];
    Py_ssize_t taken = put_raw(length, (uint64_t)size << 1) - length;
    if (taken > 2 && usance_room(out, taken) < 0) return -1;
    if (taken != 2) memmove(out->start + front + taken, out->start + front + 2, (size_t)size);
    memcpy(out->start + front, length, (size_t)taken);
    out->at = out->start + front + taken + size;
    return 0;
}

static int write_private(Out *out, const Private *private, PyObject *message) {
    PyObject *found[63];
    int64_t total = 0;
    for (Py_ssize_t i = 0; i < private->count; i++) {
        found[i] = *(PyObject **)((char *)message + private->blocks[i].at);
        if (found[i] == NULL || (found[i] == Py_None && !private->blocks[i].optional)) return -1;
        total += found[i] != Py_None;
    }
    if (put_long(out, total) < 0) return -1;
    for (Py_ssize_t i = 0; i < private->count; i++)
        if (found[i] != Py_None && write_block(out, &private->blocks[i], found[i], i) < 0) return -1;
    return total ? put_byte(out, 0) : 0;
}

/* Copies the bytes a value came in, if it is the very object under the very schema; 0 when it is not. */
static int write_kept(Out *out, const Field *field, PyObject *value) {
    PyObject *key = PyLong_FromVoidPtr(value);
    if (key == NULL) return -1;
    PyObject *kept = PyDict_GetItemWithError(out->splices, key);
    Py_DECREF(key);
    if (kept == NULL) return PyErr_Occurred() ? -1 : 0;
    if (!PyTuple_CheckExact(kept) || PyTuple_GET_SIZE(kept) != 3 || PyTuple_GET_ITEM(kept, 0) != value
        || PyTuple_GET_ITEM(kept, 1) != field->tag || !PyBytes_CheckExact(PyTuple_GET_ITEM(kept, 2)))
        return 0;
    PyObject *data = PyTuple_GET_ITEM(kept, 2);
    return put(out, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data)) < 0 ? -1 : 1;
}

static int write_struct(Out *out, const Node *node, PyObject *value) {
    if (!Py_IS_TYPE(value, node->cls)) return -1;
    for (const Field *field = node->fields, *last = field + node->count; field < last; field++) {
        if (field->node == NULL) {
            if (write_private(out, field->private, value) < 0) return -1;
            continue;
        }
        PyObject *own = *(PyObject **)((char *)value + field->at);
        if (own == NULL) return -1;
        if (own == field->usual) {
            if (put(out, field->data, field->size) < 0) return -1;
            continue;
        }
        if (field->tag != NULL && out->splices != NULL) {
            int done = write_kept(out, field, own);
            if (done < 0) return -1;
            if (done) continue;
        }
        if (write_held(out, field->node, own) < 0) return -1;
    }
    return 0;
}

static int write_tuple(Out *out, const Node *node, PyObject *value) {
    if (!Py_IS_TYPE(value, node->cls) || PyTuple_GET_SIZE(value) != node->count) return -1;
    for (Py_ssize_t i = 0; i < node->count; i++)
        if (write_node(out, node->fields[i].node, PyTuple_GET_ITEM(value, i)) < 0) return -1;
    return 0;
}

static int write_dict(Out *out, const Node *node, PyObject *value) {
    if (!PyDict_CheckExact(value)) return -1;
    for (Py_ssize_t i = 0; i < node->count; i++) {
        PyObject *own = PyDict_GetItemWithError(value, node->fields[i].name);
        if (own == NULL || write_held(out, node->fields[i].node, own) < 0) return -1;
    }
    return 0;
}

static int write_enum(Out *out, const Node *node, PyObject *value) {
    if (!PyUnicode_CheckExact(value)) return -1;
    PyObject *data = PyDict_GetItemWithError(node->table, value);
    return data == NULL ? -1 : put(out, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data));
}

static int write_node(Out *out, const Node *node, PyObject *value) {
    switch (node->op) {
    case OP_NULL: return 0;
    case OP_BOOLEAN: return PyBool_Check(value) ? put_byte(out, value == Py_True) : -1;
    case OP_LONG: return write_number(out, value);
    case OP_FLOAT: return write_float(out, value, 4);
    case OP_DOUBLE: return write_float(out, value, 8);
    case OP_STRING: return write_text(out, value);
    case OP_BYTES:
        if (!PyBytes_CheckExact(value)) return -1;
        return put_sized(out, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value));
    case OP_FIXED:
        if (!PyBytes_CheckExact(value) || PyBytes_GET_SIZE(value) != node->size) return -1;
        return put(out, PyBytes_AS_STRING(value), node->size);
    case OP_ENUM: return write_enum(out, node, value);
    case OP_NULLABLE:
        if (value == Py_None) return put_byte(out, node->index ? 0 : 2);
        return put_byte(out, node->index ? 2 : 0) < 0 ? -1 : write_node(out, node->inner, value);
    case OP_ARRAY: return write_array(out, node, value);
    case OP_MAP: return write_map(out, node, value);
    case OP_STRUCT: return write_struct(out, node, value);
    case OP_TUPLE: return write_tuple(out, node, value);
    case OP_DICT: return write_dict(out, node, value);
    default: return -1;
    }
}

/* The bytes of a value behind a prefix; NULL, with an exception or without, when anything is unusual. */
static PyObject *written(Program *self, PyObject *value, PyObject *prefix, PyObject *splices, Seal *seal) {
    unsigned char stack[STACK];
    Out out = {stack, stack, stack + STACK, NULL, splices, seal, self->state};
    PyObject *data = NULL;
    if (put(&out, PyBytes_AS_STRING(prefix), PyBytes_GET_SIZE(prefix)) == 0 && write_node(&out, self->root, value) == 0)
        data = PyBytes_FromStringAndSize((const char *)out.start, out.at - out.start);
    PyMem_Free(out.heap);
    return data;
}

/* What chains.c seals events with: never in clear, and nobody else is asked. */
PyObject *usance_write_sealed(Program *self, PyObject *value, PyObject *prefix, PyObject *splices, Seal *seal) {
    if (self->root == NULL || !PyBytes_CheckExact(prefix) || !(splices == NULL || PyDict_CheckExact(splices))) return NULL;
    return written(self, value, prefix, splices != NULL && PyDict_GET_SIZE(splices) ? splices : NULL, seal);
}

/* What seals a record's blocks: (tables of keys by block and subject, uses by key id, those of before, nonces,
 * place, suffixes, seal), as Sealer.at in messages/sealed.py makes it; or `seal` alone. */
enum { KEYS, USES, SEEN, NONCES, PLACE, SUFFIXES, SEAL, SEALING };

static bool is_sealing(PyObject *given) {
    return PyTuple_CheckExact(given) && PyTuple_GET_SIZE(given) == SEALING;
}

static bool understood(Seal *seal, PyObject *given) {
    *seal = (Seal){.unusual = given};
    if (!PyTuple_CheckExact(given)) return true;
    if (!is_sealing(given) || usance_bind_place(&seal->record, PyTuple_GET_ITEM(given, PLACE)) < 0) return false;
    seal->keys = PyTuple_GET_ITEM(given, KEYS);
    seal->uses = PyTuple_GET_ITEM(given, USES);
    seal->seen = PyTuple_GET_ITEM(given, SEEN);
    seal->pool = PyTuple_GET_ITEM(given, NONCES);
    seal->suffixes = PyTuple_GET_ITEM(given, SUFFIXES);
    seal->unusual = PyTuple_GET_ITEM(given, SEAL);
    return PyTuple_CheckExact(seal->keys) && PyDict_CheckExact(seal->uses) && PyDict_CheckExact(seal->seen)
        && PyList_CheckExact(seal->pool) && PyTuple_CheckExact(seal->suffixes);
}

PyObject *usance_write(Program *self, PyObject *const *args, Py_ssize_t count) {
    if (count >= 2 && count <= 4 && self->root != NULL && PyBytes_CheckExact(args[1])
        && (count == 2 || PyDict_CheckExact(args[2]))) {
        PyObject *splices = count >= 3 && PyDict_GET_SIZE(args[2]) ? args[2] : NULL, *data = NULL;
        bool sealed = count == 4 && args[3] != Py_None;
        Seal seal = {.record = {.heap = NULL}};
        if (!sealed) data = written(self, args[0], args[1], splices, NULL);
        else if (understood(&seal, args[3])) data = written(self, args[0], args[1], splices, &seal);
        usance_unbind(&seal.record);
        if (data != NULL || grave()) return data;
        PyErr_Clear();
    }
    if (self->writer == NULL) return PyErr_Format(PyExc_RuntimeError, "this codec program is gone");
    if (count == 4 && is_sealing(args[3])) {
        PyObject *call[] = {args[0], args[1], args[2], PyTuple_GET_ITEM(args[3], SEAL)};
        return PyObject_Vectorcall(self->writer, call, 4, NULL);
    }
    return PyObject_Vectorcall(self->writer, args, (size_t)count, NULL);
}
