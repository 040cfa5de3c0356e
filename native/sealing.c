/* What surrounds a value: identifiers, `usance-meta`, packed headers and envelope hash of one record; and the
 * hash that places a key. messages/envelope.py and kernel/ids.py are the reference; `None` from here means: not
 * as usual, ask them. SHA-256 and SHA-1 are hashlib's own.
 */
#include "native.h"

#define STACK 1024

static const char SPEC_AND_ID[] = {0, 0, 0, 3, '1', '.', '0', 0, 0, 0, 36};
static const char META_NAME[] = "\x92\xabusance-meta";
#define META_NAME_SIZE 13

static inline char *add(char *at, PyObject *bytes) {
    memcpy(at, PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes));
    return at + PyBytes_GET_SIZE(bytes);
}

static inline char *add_u32(char *at, Py_ssize_t size) {
    for (int shift = 24; shift >= 0; shift -= 8) *at++ = (char)(size >> shift & 255);
    return at;
}

/* MessagePack's mark before bytes. */
static inline char *add_mark(char *at, Py_ssize_t size) {
    if (size < 256) {
        *at++ = '\xc4';
    } else if (size < 65536) {
        *at++ = '\xc5';
        *at++ = (char)(size >> 8);
    } else {
        *at++ = '\xc6';
        return add_u32(at, size);
    }
    *at++ = (char)(size & 255);
    return at;
}

static PyObject *digest_of(State *state, PyObject *hash) {
    PyObject *digest = hash == NULL ? NULL : PyObject_CallMethodNoArgs(hash, state->digest);
    Py_XDECREF(hash);
    if (digest != NULL && !PyBytes_CheckExact(digest)) Py_CLEAR(digest);
    return digest;
}

/* What a record is made of, in the order of the arguments. */
enum {
    HASHED, PACKED, TAIL,                               /* the type's ce_type, and end of meta */
    HEAD, MIDDLE,                                       /* the cause's part of meta */
    F_START, F_PACKED, F_HASHED, F_KEY, F_END,          /* the frame */
    CE_ID, PREV, PIECES
};

static int put_piece(Out *out, PyObject *bytes) {
    return put(out, PyBytes_AS_STRING(bytes), PyBytes_GET_SIZE(bytes));
}

static int put_meta(Out *out, PyObject **piece, int64_t revision, int64_t index) {
    if (put_piece(out, piece[HEAD]) < 0 || put_long(out, revision) < 0 || put_long(out, index) < 0
        || put(out, "\x02", 1) < 0 || put_piece(out, piece[PREV]) < 0 || put_piece(out, piece[MIDDLE]) < 0)
        return -1;
    return put_piece(out, piece[TAIL]);
}

static PyObject *envelope_of(PyObject **piece, const Out *meta, PyObject *value) {
    Py_ssize_t size = meta->at - meta->start, n = value == Py_None ? 0 : PyBytes_GET_SIZE(value);
    Py_ssize_t total = (Py_ssize_t)sizeof(SPEC_AND_ID) + 8 + size + n;
    for (int i = 0; i < PIECES; i++)
        if (i == CE_ID || i == HASHED || i == F_HASHED || i == F_KEY) total += PyBytes_GET_SIZE(piece[i]);
    PyObject *whole = PyBytes_FromStringAndSize(NULL, total);
    if (whole == NULL) return NULL;
    char *at = PyBytes_AS_STRING(whole);
    memcpy(at, SPEC_AND_ID, sizeof(SPEC_AND_ID));
    at = add(add(add(at + sizeof(SPEC_AND_ID), piece[CE_ID]), piece[HASHED]), piece[F_HASHED]);
    at = add_u32(at, size);
    memcpy(at, meta->start, (size_t)size);
    at = add(at + size, piece[F_KEY]);
    if (value == Py_None) memset(at, 0xff, 4);
    else add(add_u32(at, n), value);
    return whole;
}

static PyObject *headers_of(PyObject **piece, const Out *meta) {
    Py_ssize_t size = meta->at - meta->start;
    Py_ssize_t total = META_NAME_SIZE + (size < 256 ? 2 : size < 65536 ? 3 : 5) + size;
    for (int i = 0; i < PIECES; i++)
        if (i == F_START || i == CE_ID || i == PACKED || i == F_PACKED || i == F_END)
            total += PyBytes_GET_SIZE(piece[i]);
    PyObject *headers = PyBytes_FromStringAndSize(NULL, total);
    if (headers == NULL) return NULL;
    char *at = PyBytes_AS_STRING(headers);
    at = add(add(add(add(at, piece[F_START]), piece[CE_ID]), piece[PACKED]), piece[F_PACKED]);
    memcpy(at, META_NAME, META_NAME_SIZE);
    at = add_mark(at + META_NAME_SIZE, size);
    memcpy(at, meta->start, (size_t)size);
    add(at + size, piece[F_END]);
    return headers;
}

static PyObject *seal(State *state, PyObject **piece, PyObject *value, int64_t revision, int64_t index) {
    unsigned char stack[STACK];
    Out meta = {stack, stack, stack + STACK, NULL, NULL};
    PyObject *headers = NULL, *whole = NULL, *digest = NULL, *sealed = NULL;
    if (put_meta(&meta, piece, revision, index) == 0 && meta.at - meta.start < INT32_MAX) {
        headers = headers_of(piece, &meta);
        whole = headers == NULL ? NULL : envelope_of(piece, &meta, value);
    }
    PyMem_Free(meta.heap);
    if (whole != NULL) digest = digest_of(state, PyObject_CallOneArg(state->sha256, whole));
    if (digest != NULL) sealed = PyTuple_Pack(2, headers, digest);
    Py_XDECREF(headers);
    Py_XDECREF(whole);
    Py_XDECREF(digest);
    return sealed;
}

/* seal(type's 3 pieces, cause's 2, frame, ce_id, prev, value, revision, index) -> (headers, hash), or None */
PyObject *usance_seal(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    PyObject *piece[PIECES];
    if (count != 11 || !PyTuple_CheckExact(args[5]) || PyTuple_GET_SIZE(args[5]) != 5) Py_RETURN_NONE;
    for (int i = 0; i < 5; i++) piece[i] = args[i];
    for (int i = 0; i < 5; i++) piece[F_START + i] = PyTuple_GET_ITEM(args[5], i);
    piece[CE_ID] = args[6];
    piece[PREV] = args[7];
    for (int i = 0; i < PIECES; i++)
        if (!PyBytes_CheckExact(piece[i]) || PyBytes_GET_SIZE(piece[i]) > INT32_MAX / 16) Py_RETURN_NONE;
    PyObject *value = args[8];
    if (PyBytes_GET_SIZE(piece[CE_ID]) != 36 || PyBytes_GET_SIZE(piece[PREV]) != 32
        || (value != Py_None && (!PyBytes_CheckExact(value) || PyBytes_GET_SIZE(value) > INT32_MAX / 2))
        || !PyLong_CheckExact(args[9]) || !PyLong_CheckExact(args[10]))
        Py_RETURN_NONE;
    int over[2];
    int64_t revision = PyLong_AsLongLongAndOverflow(args[9], &over[0]);
    int64_t index = PyLong_AsLongLongAndOverflow(args[10], &over[1]);
    if (over[0] || over[1]) Py_RETURN_NONE;
    return seal(PyModule_GetState(module), piece, value, revision, index);
}

/* uuid5(namespace, name) -> 36 bytes */
PyObject *usance_uuid5(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    static const char HEX[] = "0123456789abcdef";
    State *state = PyModule_GetState(module);
    if (count != 2 || !PyBytes_CheckExact(args[0]) || !PyBytes_CheckExact(args[1]))
        return PyErr_Format(PyExc_TypeError, "uuid5 takes two bytes objects");
    Py_ssize_t first = PyBytes_GET_SIZE(args[0]);
    PyObject *data = PyBytes_FromStringAndSize(NULL, first + PyBytes_GET_SIZE(args[1]));
    if (data == NULL) return NULL;
    add(add(PyBytes_AS_STRING(data), args[0]), args[1]);
    PyObject *call[] = {data, Py_False};
    PyObject *digest = digest_of(state, PyObject_Vectorcall(state->sha1, call, 1, state->sha1_names));
    Py_DECREF(data);
    if (digest == NULL) return NULL;
    PyObject *text = PyBytes_GET_SIZE(digest) < 16 ? NULL : PyBytes_FromStringAndSize(NULL, 36);
    if (text != NULL) {
        char *at = PyBytes_AS_STRING(text);
        for (int i = 0; i < 16; i++) {
            unsigned char byte = (unsigned char)PyBytes_AS_STRING(digest)[i];
            if (i == 6) byte = (byte & 0x0f) | 0x50;
            if (i == 8) byte = (byte & 0x3f) | 0x80;
            if (i == 4 || i == 6 || i == 8 || i == 10) *at++ = '-';
            *at++ = HEX[byte >> 4];
            *at++ = HEX[byte & 15];
        }
    }
    Py_DECREF(digest);
    return text;
}

/* murmur2(data) -> int: Kafka's, as in kernel/ids.py */
PyObject *usance_murmur2(PyObject *module, PyObject *data) {
    if (!PyBytes_CheckExact(data)) return PyErr_Format(PyExc_TypeError, "murmur2 takes a bytes object");
    const unsigned char *at = (const unsigned char *)PyBytes_AS_STRING(data);
    Py_ssize_t size = PyBytes_GET_SIZE(data);
    const uint32_t m = 0x5bd1e995;
    uint32_t h = 0x9747b28c ^ (uint32_t)size;
    for (; size >= 4; at += 4, size -= 4) {
        uint32_t k = at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
        k *= m;
        k ^= k >> 24;
        h = h * m ^ k * m;
    }
    if (size) {
        for (Py_ssize_t i = 0; i < size; i++) h ^= (uint32_t)at[i] << (8 * i);
        h *= m;
    }
    h ^= h >> 13;
    h *= m;
    h ^= h >> 15;
    return PyLong_FromUnsignedLong(h);
}
