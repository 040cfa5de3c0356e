/* Reading: bytes along a program's nodes into objects.
 *
 * Every step looks at what is left before it takes; no allocation follows a length that the bytes left do not
 * bear out; depth is that of the program. `NULL` without an exception means: not as usual (see native.h).
 */
#include "native.h"

typedef struct {
    const unsigned char *at, *end, *start;
    State *state;
    PyObject *data, *blocks;
    PyObject *keep;     /* the dictionary of splices, or NULL */
    PyObject *open;     /* open(number of the block, subject, sealed bytes); NULL: blocks stand in clear */
    PyObject *keys, *suffixes;     /* what usually opens them, or NULL */
    const Record *record;
} In;

static PyObject *read_node(In *in, const Node *node);

/* Inlined where one byte is the rule; the rest is here. */
static int read_more(In *in, uint64_t *raw) {
    uint64_t value = *raw;
    for (int shift = 7; shift <= 63; shift += 7) {
        if (in->at >= in->end) return -1;
        uint64_t byte = *in->at++;
        if (byte < 128) {
            if (shift == 63 && byte > 1) return -1;
            *raw = value | byte << shift;
            return 0;
        }
        value |= (byte & 127) << shift;
    }
    return -1;
}

static inline int read_raw(In *in, uint64_t *raw) {
    if (in->at >= in->end) return -1;
    *raw = *in->at++;
    if (*raw < 128) return 0;
    *raw &= 127;
    return read_more(in, raw);
}

static inline int read_long(In *in, int64_t *n) {
    uint64_t raw;
    if (read_raw(in, &raw) < 0) return -1;
    *n = (int64_t)(raw >> 1) ^ -(int64_t)(raw & 1);
    return 0;
}

/* Reads a length that the bytes left can hold. */
static inline Py_ssize_t read_size(In *in) {
    uint64_t raw;
    if (read_raw(in, &raw) < 0 || raw & 1 || raw >> 1 > (uint64_t)(in->end - in->at)) return -1;
    return (Py_ssize_t)(raw >> 1);
}

static inline bool is_ascii(const unsigned char *at, Py_ssize_t size) {
    uint64_t seen = 0, word;
    while (size >= 8) {
        memcpy(&word, at, 8);
        seen |= word;
        at += 8;
        size -= 8;
    }
    while (size-- > 0) seen |= *at++;
    return !(seen & UINT64_C(0x8080808080808080));
}

static PyObject *fresh_text(const unsigned char *at, Py_ssize_t size) {
    if (size < 2 || !is_ascii(at, size)) return PyUnicode_DecodeUTF8((const char *)at, size, NULL);
    PyObject *text = PyUnicode_New(size, 127);
    if (text != NULL) memcpy(PyUnicode_1BYTE_DATA(text), at, (size_t)size);
    return text;
}

/* Short texts come again and again: the one made last time serves. Which ones collide is no secret, and no
 * matter: the later one takes the place. */
static PyObject *short_text(State *state, const unsigned char *at, Py_ssize_t size) {
    uint64_t words[SHORT_MAX / 8] = {0};
    memcpy(words, at, (size_t)size);
    uint64_t hash = (uint64_t)size;
    for (int i = 0; i < SHORT_MAX / 8; i++) hash = (hash ^ words[i]) * UINT64_C(0x9E3779B97F4A7C15);
    PyObject **slot = &state->shorts[(hash >> 40) % SHORTS];
    PyObject *known = *slot;
    if (known != NULL && PyUnicode_GET_LENGTH(known) == size
        && memcmp(PyUnicode_1BYTE_DATA(known), at, (size_t)size) == 0)
        return Py_NewRef(known);
    PyObject *text = fresh_text(at, size);
    if (text != NULL && PyUnicode_IS_COMPACT_ASCII(text)) {
        known = *slot;
        *slot = Py_NewRef(text);
        Py_XDECREF(known);
    }
    return text;
}

PyObject *usance_text(State *state, const unsigned char *at, Py_ssize_t size) {
    return size > 1 && size <= SHORT_MAX ? short_text(state, at, size) : fresh_text(at, size);
}

static PyObject *read_text(In *in) {
    Py_ssize_t size = read_size(in);
    if (size < 0) return NULL;
    const unsigned char *at = in->at;
    in->at += size;
    return usance_text(in->state, at, size);
}

static PyObject *read_bytes(In *in, Py_ssize_t size) {
    if (size < 0 || size > in->end - in->at) return NULL;
    PyObject *made = PyBytes_FromStringAndSize((const char *)in->at, size);
    in->at += size;
    return made;
}

static PyObject *read_float(In *in, int size) {
    if (in->end - in->at < size) return NULL;
    const char *at = (const char *)in->at;
    in->at += size;
    double value = size == 4 ? PyFloat_Unpack4(at, 1) : PyFloat_Unpack8(at, 1);
    return value == -1.0 && PyErr_Occurred() ? NULL : PyFloat_FromDouble(value);
}

/* Reads the count that begins a block of a collection: 0 at the end, -1 when it cannot be. */
static Py_ssize_t read_count(In *in, const Node *node) {
    int64_t n, size;
    if (in->at < in->end && *in->at == 0) {
        in->at++;
        return 0;
    }
    /* The reference takes a zero of several bytes for a block without items, not for the end. */
    if (read_long(in, &n) < 0 || n == 0) return -1;
    if (n < 0) {
        if (n == INT64_MIN || read_long(in, &size) < 0 || size < 0) return -1;
        n = -n;
    }
    return n > (node->size ? node->size : in->end - in->at) ? -1 : (Py_ssize_t)n;
}

static PyObject *read_array(In *in, const Node *node) {
    Py_ssize_t n = read_count(in, node);
    if (n < 0) return NULL;
    PyObject *list = PyList_New(0);
    while (list != NULL && n > 0) {
        for (; n > 0; n--) {
            PyObject *item = read_node(in, node->inner);
            if (item == NULL || PyList_Append(list, item) < 0) {
                Py_XDECREF(item);
                Py_DECREF(list);
                return NULL;
            }
            Py_DECREF(item);
        }
        if ((n = read_count(in, node)) < 0) Py_CLEAR(list);
    }
    return list;
}

static int read_entry(In *in, const Node *node, PyObject *dict) {
    PyObject *key = read_text(in);
    PyObject *item = key == NULL ? NULL : read_node(in, node->inner);
    int done = item == NULL ? -1 : PyDict_SetItem(dict, key, item);
    Py_XDECREF(key);
    Py_XDECREF(item);
    return done;
}

static PyObject *read_map(In *in, const Node *node) {
    Py_ssize_t n = read_count(in, node);
    if (n < 0) return NULL;
    PyObject *dict = PyDict_New();
    while (dict != NULL && n > 0) {
        for (; n > 0; n--) {
            if (read_entry(in, node, dict) < 0) {
                Py_DECREF(dict);
                return NULL;
            }
        }
        if ((n = read_count(in, node)) < 0) Py_CLEAR(dict);
    }
    return dict;
}

/* Puts a value into a struct's slot and takes over the reference. */
static inline void settle(PyObject *object, Py_ssize_t at, PyObject *value) {
    PyObject **slot = (PyObject **)((char *)object + at);
    PyObject *before = *slot;
    *slot = value;
    Py_XDECREF(before);
}

static int keep_bytes(In *in, const Field *field, PyObject *value, const unsigned char *start) {
    PyObject *key = PyLong_FromVoidPtr(value);
    PyObject *data = PyBytes_FromStringAndSize((const char *)start, in->at - start);
    PyObject *entry = key && data ? PyTuple_Pack(3, value, field->tag, data) : NULL;
    int done = entry == NULL ? -1 : PyDict_SetItem(in->keep, key, entry);
    Py_XDECREF(key);
    Py_XDECREF(data);
    Py_XDECREF(entry);
    return done;
}

/* Tells whether a text has these UTF-8 bytes; -1 on failure. */
static int same_text(PyObject *text, const unsigned char *at, Py_ssize_t size) {
    if (!PyUnicode_CheckExact(text)) return -1;
    if (PyUnicode_IS_COMPACT_ASCII(text))
        return PyUnicode_GET_LENGTH(text) == size && memcmp(PyUnicode_1BYTE_DATA(text), at, (size_t)size) == 0;
    PyObject *data = PyUnicode_AsUTF8String(text);
    if (data == NULL) return -1;
    int same = PyBytes_GET_SIZE(data) == size && memcmp(PyBytes_AS_STRING(data), at, (size_t)size) == 0;
    Py_DECREF(data);
    return same;
}

/* Reads a block's Avro, which fills what `in` has, and holds its subject against the one before it. */
static PyObject *read_inner(In *in, const Block *block, const unsigned char *subject, Py_ssize_t size) {
    PyObject *inner = read_node(in, block->node);
    if (inner == NULL) return NULL;
    PyObject *owner = *(PyObject **)((char *)inner + block->subject_at);
    if (in->at != in->end || owner == NULL || same_text(owner, subject, size) != 1) Py_CLEAR(inner);
    return inner;
}

/* Compares commitments without telling by its time where they differ. */
static bool same_commit(const unsigned char *one, const char *other) {
    unsigned char differs = 0;
    for (int i = 0; i < SEAL_COMMIT; i++) differs |= one[i] ^ (unsigned char)other[i];
    return differs == 0;
}

static PyObject *decrypted(Cipher *cipher, const unsigned char *at, Py_ssize_t body, const Bound *to) {
    if (memcmp(at, cipher->head, SEAL_HEAD) != 0 || !same_commit(at + SEAL_HEAD + SEAL_NONCE, cipher->commit)) return NULL;
    PyObject *plain = PyBytes_FromStringAndSize(NULL, body - SEAL_OVER);
    if (plain != NULL && usance_gcm_open(cipher, at + SEAL_HEAD, to, at + SEAL_FRONT, body - SEAL_OVER,
                                         (unsigned char *)PyBytes_AS_STRING(plain)) < 0)
        Py_CLEAR(plain);    /* the reference says what is wrong with it */
    return plain;
}

/* The same by a cipher of Python's. */
static PyObject *decrypted_by_object(In *in, PyObject *key, const unsigned char *at, Py_ssize_t body, const Bound *to) {
    State *state = in->state;
    PyObject *head = usance_part(key, state->head, SEAL_HEAD);
    PyObject *commit = usance_part(key, state->commit, SEAL_COMMIT), *plain = NULL;
    if (head != NULL && commit != NULL && memcmp(at, PyBytes_AS_STRING(head), SEAL_HEAD) == 0
        && same_commit(at + SEAL_HEAD + SEAL_NONCE, PyBytes_AS_STRING(commit))) {
        PyObject *decrypt = PyObject_GetAttr(key, state->decrypt);
        PyObject *nonce = PyBytes_FromStringAndSize((const char *)at + SEAL_HEAD, SEAL_NONCE);
        PyObject *text = PyBytes_FromStringAndSize((const char *)at + SEAL_FRONT, body - SEAL_FRONT);
        PyObject *aad = usance_aad(to);
        PyObject *call[] = {nonce, text, aad};
        if (decrypt != NULL && nonce != NULL && text != NULL && aad != NULL)
            plain = PyObject_Vectorcall(decrypt, call, 3, NULL);
        Py_XDECREF(decrypt);
        Py_XDECREF(nonce);
        Py_XDECREF(text);
        Py_XDECREF(aad);
    }
    Py_XDECREF(head);
    Py_XDECREF(commit);
    return plain;
}

/* Opens a block whose key is at hand; NULL without an exception when it is not, or anything is unusual. */
static PyObject *open_usual(In *in, Py_ssize_t body, Py_ssize_t number) {
    if (in->keys == NULL || body < SEAL_OVER || body > SEAL_OVER + SEAL_MOST) return NULL;
    PyObject *suffix = PyTuple_GET_ITEM(in->suffixes, number), *plain = NULL;
    if (!PyBytes_CheckExact(suffix)) return NULL;
    const unsigned char *at = in->at;
    PyObject *key_id = PyBytes_FromStringAndSize((const char *)at + 2, SEAL_HEAD - 2);
    PyObject *key = key_id == NULL ? NULL : Py_XNewRef(PyDict_GetItemWithError(in->keys, key_id));
    Py_XDECREF(key_id);
    if (key == NULL) return NULL;
    Bound to = {in->record->prefix, in->record->size, PyBytes_AS_STRING(suffix), PyBytes_GET_SIZE(suffix),
                (const char *)at, SEAL_HEAD};
    PyObject *cipher = PyObject_GetAttr(key, in->state->cipher);
    if (cipher != NULL)
        plain = Py_IS_TYPE(cipher, in->state->cipher_type) ? decrypted((Cipher *)cipher, at, body, &to)
                                                          : decrypted_by_object(in, key, at, body, &to);
    Py_XDECREF(cipher);
    Py_DECREF(key);
    return plain;
}

/* Opens a sealed block: what `open` gives is its Avro, or an object that stands for what cannot be read. */
static PyObject *read_sealed(In *in, const Block *block, const unsigned char *subject, Py_ssize_t size,
                             Py_ssize_t body, Py_ssize_t number) {
    PyObject *plain = open_usual(in, body, number);
    if (plain == NULL && PyErr_Occurred()) return NULL;
    if (plain == NULL) {
        PyObject *which = PyLong_FromSsize_t(number);
        PyObject *owner = which == NULL ? NULL : PyUnicode_DecodeUTF8((const char *)subject, size, NULL);
        PyObject *sealed = owner == NULL ? NULL : PyBytes_FromStringAndSize((const char *)in->at, body);
        PyObject *call[] = {which, owner, sealed};
        if (sealed != NULL) plain = PyObject_Vectorcall(in->open, call, 3, NULL);
        Py_XDECREF(which);
        Py_XDECREF(owner);
        Py_XDECREF(sealed);
    }
    if (plain == NULL || !PyBytes_CheckExact(plain)) return plain;
    const unsigned char *data = (const unsigned char *)PyBytes_AS_STRING(plain);
    In own = {data, data + PyBytes_GET_SIZE(plain), data, in->state, plain, in->blocks, NULL, NULL, NULL, NULL, NULL};
    PyObject *inner = read_inner(&own, block, subject, size);
    Py_DECREF(plain);
    return inner;
}

/* Reads one usual block of the newest schema into the message; 0 when something is not as usual. */
static int read_block(In *in, const Block *block, PyObject *made, Py_ssize_t number) {
    if (in->end - in->at < block->head_size || memcmp(in->at, block->head, (size_t)block->head_size) != 0)
        return 0;
    in->at += block->head_size;
    Py_ssize_t size = read_size(in);
    if (size < 0) return -1;
    const unsigned char *subject = in->at;
    in->at += size;
    if (in->end - in->at < 8) return -1;
    if (memcmp(in->at, block->print, 8) != 0) return 0;
    in->at += 8;
    Py_ssize_t body = read_size(in);
    if (body < 1) return -1;
    if (*in->at != (in->open != NULL)) return 0;
    const unsigned char *end = in->at + body, *whole = in->end;
    PyObject *inner;
    if (in->open != NULL) {
        inner = read_sealed(in, block, subject, size, body, number);
    } else {
        in->at++;
        in->end = end;
        inner = read_inner(in, block, subject, size);
        in->end = whole;
    }
    if (inner == NULL) return -1;
    in->at = end;
    settle(made, block->at, inner);
    return 1;
}

/* Reads blocks in the class's order, optional ones may be missing; 0 when something is not as usual. */
static int read_usual(In *in, const Private *private, PyObject *made) {
    const unsigned char *start = in->at;
    uint64_t raw;
    if (read_raw(in, &raw) < 0) return -1;
    if (raw & 1 || raw >> 1 > (uint64_t)private->count || (raw == 0 && in->at - start > 1)) return 0;
    Py_ssize_t left = (Py_ssize_t)(raw >> 1);
    bool any = left > 0;
    for (Py_ssize_t i = 0; i < private->count; i++) {
        const Block *block = &private->blocks[i];
        const unsigned char *before = in->at;
        int got = left > 0 ? read_block(in, block, made, i) : 0;
        if (got < 0) return -1;
        if (got) {
            left--;
        } else if (block->optional) {
            in->at = before;
        } else {
            return 0;
        }
    }
    if (left > 0 || !any) return left == 0;
    if (in->at >= in->end || *in->at != 0) return 0;
    in->at++;
    return 1;
}

/* Reads blocks as only Python can: older schemas, another order, several chunks, sealed ones. */
static int read_unusual(In *in, const Private *private, PyObject *made) {
    PyObject *opened = PyObject_CallFunction(
        private->unusual, "OOn", in->blocks, in->data, (Py_ssize_t)(in->at - in->start));
    if (opened == NULL) return -1;
    PyObject *found;
    Py_ssize_t end, whole = in->end - in->start;
    bool good = PyTuple_Check(opened) && PyArg_ParseTuple(opened, "O!n", &PyDict_Type, &found, &end)
        && end >= in->at - in->start && end <= whole;
    for (Py_ssize_t i = 0; good && i < private->count; i++) {
        PyObject *value = PyDict_GetItemWithError(found, PyTuple_GET_ITEM(private->names, i));
        if (value == NULL && (PyErr_Occurred() || !private->blocks[i].optional)) {
            good = false;
        } else {
            settle(made, private->blocks[i].at, Py_NewRef(value ? value : Py_None));
        }
    }
    Py_DECREF(opened);
    if (good) in->at = in->start + end;
    return good ? 0 : -1;
}

static int read_private(In *in, const Private *private, PyObject *made) {
    if (in->blocks == Py_None) return -1;
    if (in->at < in->end && *in->at == 0 && private->bare) {   /* none are there, and none need be */
        in->at++;
        return 0;
    }
    PyObject *clear = PyObject_GetAttr(in->blocks, in->state->clear);
    if (clear == NULL) return -1;
    bool may = clear == Py_True;
    Py_DECREF(clear);
    PyObject *open = may ? NULL : PyObject_GetAttr(in->blocks, in->state->open);
    if (!may && open == NULL) return -1;
    in->open = open == Py_None ? NULL : open;
    PyObject *place = NULL, *suffixes = NULL, *keys = NULL;
    Record record = {.heap = NULL};
    if (in->open != NULL) {
        keys = PyObject_GetAttr(in->blocks, in->state->keys);
        place = keys == NULL ? NULL : PyObject_GetAttr(in->blocks, in->state->place);
        suffixes = place == NULL ? NULL : PyObject_GetAttr(in->blocks, in->state->suffixes);
        bool usual = suffixes != NULL && PyDict_CheckExact(keys) && PyTuple_CheckExact(suffixes)
            && PyTuple_GET_SIZE(suffixes) == private->count && usance_bind_place(&record, place) == 0;
        in->keys = usual ? keys : NULL;
        in->suffixes = suffixes;
        in->record = &record;
    }
    const unsigned char *before = in->at;
    int done = grave() ? -1 : 0;
    if (done == 0) PyErr_Clear();
    if (done == 0 && (may || in->open != NULL)) done = read_usual(in, private, made);
    in->open = in->keys = NULL;
    in->record = NULL;
    usance_unbind(&record);
    Py_XDECREF(open);
    Py_XDECREF(keys);
    Py_XDECREF(place);
    Py_XDECREF(suffixes);
    if (done) return done < 0 ? -1 : 0;
    in->at = before;
    for (Py_ssize_t i = 0; i < private->count; i++) settle(made, private->blocks[i].at, Py_NewRef(Py_None));
    return read_unusual(in, private, made);
}

static int read_field(In *in, const Field *field, PyObject *made) {
    if (field->node == NULL) return read_private(in, field->private, made);
    const unsigned char *start = in->at;
    PyObject *value = read_node(in, field->node);
    if (value == NULL) return -1;
    settle(made, field->at, value);
    return in->keep != NULL && field->tag != NULL ? keep_bytes(in, field, value, start) : 0;
}

/* Fields that stand at their defaults have them already: the copy of the blank brought them along. */
static PyObject *read_struct(In *in, const Node *node) {
    PyObject *made = PyObject_Vectorcall(in->state->copy, &node->blank, 1, NULL);
    if (made == NULL) return NULL;
    if (!Py_IS_TYPE(made, node->cls)) {
        Py_DECREF(made);
        return NULL;
    }
    for (const Field *field = node->fields, *last = field + node->count; field < last; field++) {
        Py_ssize_t size = field->size;
        if (size && size <= in->end - in->at && field->data[0] == (char)*in->at
            && (size == 1 || memcmp(field->data, in->at, (size_t)size) == 0)) {
            in->at += size;
        } else if (read_field(in, field, made) < 0) {
            Py_DECREF(made);
            return NULL;
        }
    }
    if (node->tracked && !PyObject_GC_IsTracked(made)) PyObject_GC_Track(made);
    return made;
}

static PyObject *read_tuple(In *in, const Node *node) {
    PyObject *made = node->cls->tp_alloc(node->cls, node->count);
    for (Py_ssize_t i = 0; made != NULL && i < node->count; i++) {
        PyObject *value = read_node(in, node->fields[i].node);
        if (value == NULL) Py_CLEAR(made);
        else PyTuple_SET_ITEM(made, i, value);
    }
    return made;
}

static PyObject *read_dict(In *in, const Node *node) {
    PyObject *made = PyDict_New();
    for (Py_ssize_t i = 0; made != NULL && i < node->count; i++) {
        PyObject *value = read_node(in, node->fields[i].node);
        if (value == NULL || PyDict_SetItem(made, node->fields[i].name, value) < 0) Py_CLEAR(made);
        Py_XDECREF(value);
    }
    return made;
}

static PyObject *read_enum(In *in, const Node *node) {
    uint64_t raw;
    if (read_raw(in, &raw) < 0 || raw & 1 || raw >> 1 >= (uint64_t)PyList_GET_SIZE(node->values)) return NULL;
    PyObject *value = PyList_GET_ITEM(node->values, (Py_ssize_t)(raw >> 1));
    return value == Py_None ? NULL : Py_NewRef(value);
}

static PyObject *read_node(In *in, const Node *node) {
    int64_t n;
    switch (node->op) {
    case OP_NULL: return Py_NewRef(Py_None);
    case OP_BOOLEAN:
        if (in->at >= in->end || *in->at > 1) return NULL;
        return Py_NewRef(*in->at++ ? Py_True : Py_False);
    case OP_LONG: return read_long(in, &n) < 0 ? NULL : PyLong_FromLongLong(n);
    case OP_FLOAT: return read_float(in, 4);
    case OP_DOUBLE: return read_float(in, 8);
    case OP_STRING: return read_text(in);
    case OP_BYTES: return read_bytes(in, read_size(in));
    case OP_FIXED: return read_bytes(in, node->size);
    case OP_ENUM: return read_enum(in, node);
    case OP_NULLABLE: {
        if (in->at >= in->end) return NULL;
        int branch = *in->at++;
        if (branch == (node->index ? 0 : 2)) return Py_NewRef(Py_None);
        return branch == (node->index ? 2 : 0) ? read_node(in, node->inner) : NULL;
    }
    case OP_ARRAY: return read_array(in, node);
    case OP_MAP: return read_map(in, node);
    case OP_STRUCT: return read_struct(in, node);
    case OP_TUPLE: return read_tuple(in, node);
    case OP_DICT: return read_dict(in, node);
    default: return NULL;
    }
}

static PyObject *read_whole(Program *self, PyObject *data, Py_ssize_t start, PyObject *blocks) {
    const unsigned char *bytes = (const unsigned char *)PyBytes_AS_STRING(data);
    In in = {bytes + start, bytes + PyBytes_GET_SIZE(data), bytes, self->state, data, blocks, NULL, NULL, NULL, NULL, NULL};
    PyObject *keep = NULL;
    if (self->keeps && blocks != Py_None) {
        keep = PyObject_GetAttr(blocks, self->state->splices);
        if (keep == NULL) return NULL;
        if (PyDict_CheckExact(keep)) in.keep = keep;
    }
    PyObject *value = read_node(&in, self->root);
    Py_XDECREF(keep);
    if (value != NULL && in.at != in.end) Py_CLEAR(value);
    return value;
}

PyObject *usance_read(Program *self, PyObject *const *args, Py_ssize_t count) {
    bool alive = self->root != NULL && self->state->copy != NULL;
    if (alive && count == 3 && PyBytes_CheckExact(args[0]) && PyLong_CheckExact(args[1])) {
        Py_ssize_t start = PyLong_AsSsize_t(args[1]);
        if (start >= 0 && start <= PyBytes_GET_SIZE(args[0])) {
            PyObject *value = read_whole(self, args[0], start, args[2]);
            if (value != NULL || grave()) return value;
        }
        PyErr_Clear();
    }
    if (self->reader == NULL) return PyErr_Format(PyExc_RuntimeError, "this codec program is gone");
    return PyObject_Vectorcall(self->reader, args, (size_t)count, NULL);
}

/* Passes over a text. */
static int skip_text(In *in) {
    Py_ssize_t size = read_size(in);
    if (size < 0) return -1;
    in->at += size;
    return 0;
}

/* Passes over null, or so many numbers. */
static int skip_longs(In *in, int count) {
    int64_t n;
    if (in->at >= in->end || (*in->at != 0 && *in->at != 2)) return -1;
    if (*in->at++ == 0) return 0;
    while (count-- > 0)
        if (read_long(in, &n) < 0) return -1;
    return 0;
}

/* skim(meta, frame) -> (revision, index, 16 bytes of the command id, 16 of the body hash), or None.
 *
 * What a fold needs of `usance-meta`, at the places where its schema has them. */
PyObject *usance_skim(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    if (count != 2 || !PyBytes_CheckExact(args[0]) || !PyBytes_CheckExact(args[1])) Py_RETURN_NONE;
    const unsigned char *at = (const unsigned char *)PyBytes_AS_STRING(args[0]);
    Py_ssize_t size = PyBytes_GET_SIZE(args[0]), frame = PyBytes_GET_SIZE(args[1]);
    if (size < frame || memcmp(at, PyBytes_AS_STRING(args[1]), (size_t)frame) != 0) Py_RETURN_NONE;
    In in = {.at = at + frame, .end = at + size, .start = at};
    int64_t revision, index;
    unsigned char recent[32];
    for (int i = 0; i < 4; i++)
        if (skip_text(&in) < 0) Py_RETURN_NONE;
    if (read_long(&in, &revision) < 0 || read_long(&in, &index) < 0 || in.end - in.at < 33 || *in.at != 2)
        Py_RETURN_NONE;
    in.at += 33;
    if (skip_text(&in) < 0 || skip_text(&in) < 0) Py_RETURN_NONE;
    size = read_size(&in);
    if (size != 36 || !usance_uuid_bytes(in.at, recent)) Py_RETURN_NONE;
    in.at += size;
    if (in.end - in.at < 32) Py_RETURN_NONE;
    memcpy(recent + 16, in.at, 16);
    in.at += 32;
    if (skip_longs(&in, 2) < 0 || in.end - in.at < 8) Py_RETURN_NONE;
    in.at += 8;
    if (skip_longs(&in, 1) < 0 || skip_longs(&in, 1) < 0 || in.at != in.end) Py_RETURN_NONE;
    return Py_BuildValue("LLy#", (long long)revision, (long long)index, recent, (Py_ssize_t)32);
}
