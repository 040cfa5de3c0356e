/* What surrounds a value: identifiers, `usance-meta`, packed headers and envelope hash of one record; and the
 * hash that places a key. messages/envelope.py and kernel/ids.py are the reference; `None` from here means: not
 * as usual, ask them.
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

/* The hash of a message: hashlib's where the processor has no instructions for it. */
static PyObject *sha256_of(State *state, PyObject *message) {
    if (!usance_hashes_fast) return digest_of(state, PyObject_CallOneArg(state->sha256, message));
    unsigned char digest[32];
    usance_sha(PyBytes_AS_STRING(message), (size_t)PyBytes_GET_SIZE(message), digest);
    return PyBytes_FromStringAndSize((const char *)digest, sizeof(digest));
}

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

int usance_seal_record(State *state, PyObject **piece, PyObject *value, int64_t revision, int64_t index,
                PyObject **headers, PyObject **digest) {
    unsigned char stack[STACK];
    Out meta = {stack, stack, stack + STACK, NULL, NULL, NULL, NULL};
    PyObject *whole = NULL;
    *headers = *digest = NULL;
    if (put_meta(&meta, piece, revision, index) == 0 && meta.at - meta.start < INT32_MAX) {
        *headers = headers_of(piece, &meta);
        whole = *headers == NULL ? NULL : envelope_of(piece, &meta, value);
    }
    PyMem_Free(meta.heap);
    if (whole != NULL) *digest = sha256_of(state, whole);
    Py_XDECREF(whole);
    if (*digest == NULL) Py_CLEAR(*headers);
    return *digest == NULL ? -1 : 0;
}

bool usance_are_pieces(PyObject **piece, int from, int to) {
    for (int i = from; i < to; i++)
        if (!PyBytes_CheckExact(piece[i]) || PyBytes_GET_SIZE(piece[i]) > INT32_MAX / 16) return false;
    return true;
}

bool usance_is_value(PyObject *value) {
    return value == Py_None || (PyBytes_CheckExact(value) && PyBytes_GET_SIZE(value) <= INT32_MAX / 2);
}

bool usance_is_number(PyObject *number, int64_t *n) {
    int over = 1;
    if (PyLong_CheckExact(number)) *n = PyLong_AsLongLongAndOverflow(number, &over);
    return !over;
}

/* seal(type's 3 pieces, cause's 2, frame, ce_id, prev, value, revision, index) -> (headers, hash), or None */
PyObject *usance_seal(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    PyObject *piece[PIECES], *headers, *digest;
    int64_t revision, index;
    if (count != 11 || !PyTuple_CheckExact(args[5]) || PyTuple_GET_SIZE(args[5]) != 5) Py_RETURN_NONE;
    for (int i = 0; i < 5; i++) piece[i] = args[i];
    for (int i = 0; i < 5; i++) piece[F_START + i] = PyTuple_GET_ITEM(args[5], i);
    piece[CE_ID] = args[6];
    piece[PREV] = args[7];
    if (!usance_are_pieces(piece, 0, PIECES) || PyBytes_GET_SIZE(piece[CE_ID]) != 36
        || PyBytes_GET_SIZE(piece[PREV]) != 32 || !usance_is_value(args[8]) || !usance_is_number(args[9], &revision)
        || !usance_is_number(args[10], &index))
        Py_RETURN_NONE;
    if (usance_seal_record(PyModule_GetState(module), piece, args[8], revision, index, &headers, &digest) < 0) {
        if (PyErr_Occurred()) return NULL;
        Py_RETURN_NONE;
    }
    PyObject *sealed = PyTuple_Pack(2, headers, digest);
    Py_DECREF(headers);
    Py_DECREF(digest);
    return sealed;
}

/* hashlib's SHA-1 of a message that is too long for our own. */
static int sha1_long(State *state, PyObject *message, unsigned char *digest) {
    PyObject *call[] = {message, Py_False};
    PyObject *made = digest_of(state, PyObject_Vectorcall(state->sha1, call, 1, state->sha1_names));
    int done = made != NULL && PyBytes_GET_SIZE(made) == 20 ? 0 : -1;
    if (done == 0) memcpy(digest, PyBytes_AS_STRING(made), 20);
    Py_XDECREF(made);
    return done;
}

PyObject *usance_uuid5_of(State *state, const char *namespace, Py_ssize_t first, const char *name, Py_ssize_t size) {
    static const char HEX[] = "0123456789abcdef";
    unsigned char digest[20];
    PyObject *data = PyBytes_FromStringAndSize(NULL, first + size);
    if (data == NULL) return NULL;
    memcpy(PyBytes_AS_STRING(data), namespace, (size_t)first);
    memcpy(PyBytes_AS_STRING(data) + first, name, (size_t)size);
    bool done = usance_sha1_short((const unsigned char *)PyBytes_AS_STRING(data), (size_t)(first + size), false, digest)
        || sha1_long(state, data, digest) == 0;
    Py_DECREF(data);
    PyObject *text = done ? PyBytes_FromStringAndSize(NULL, 36) : NULL;
    if (text == NULL) return NULL;
    digest[6] = (digest[6] & 0x0f) | 0x50;
    digest[8] = (digest[8] & 0x3f) | 0x80;
    char *at = PyBytes_AS_STRING(text);
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) *at++ = '-';
        *at++ = HEX[digest[i] >> 4];
        *at++ = HEX[digest[i] & 15];
    }
    return text;
}

/* uuid5(namespace, name) -> 36 bytes */
PyObject *usance_uuid5(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    if (count != 2 || !PyBytes_CheckExact(args[0]) || !PyBytes_CheckExact(args[1]))
        return PyErr_Format(PyExc_TypeError, "uuid5 takes two bytes objects");
    return usance_uuid5_of(PyModule_GetState(module), PyBytes_AS_STRING(args[0]), PyBytes_GET_SIZE(args[0]),
                    PyBytes_AS_STRING(args[1]), PyBytes_GET_SIZE(args[1]));
}

static int hex_digit(unsigned char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool usance_uuid_bytes(const unsigned char *at, unsigned char *out) {
    for (int i = 0; i < 16; i++) {
        if ((i == 4 || i == 6 || i == 8 || i == 10) && *at++ != '-') return false;
        int high = hex_digit(*at++), low = hex_digit(*at++);
        if (high < 0 || low < 0) return false;
        out[i] = (unsigned char)(high << 4 | low);
    }
    return true;
}

/* namespace(text) -> the 16 bytes of a UUID in its usual form, or None */
PyObject *usance_namespace(PyObject *module, PyObject *text) {
    unsigned char bytes[16];
    if (!PyUnicode_CheckExact(text) || !PyUnicode_IS_COMPACT_ASCII(text) || PyUnicode_GET_LENGTH(text) != 36
        || !usance_uuid_bytes(PyUnicode_1BYTE_DATA(text), bytes))
        Py_RETURN_NONE;
    return PyBytes_FromStringAndSize((const char *)bytes, 16);
}

static int put_text(Out *out, PyObject *text) {
    if (!PyUnicode_CheckExact(text) || !PyUnicode_IS_COMPACT_ASCII(text)) return -1;
    Py_ssize_t size = PyUnicode_GET_LENGTH(text);
    return put_long(out, size) < 0 ? -1 : put(out, PyUnicode_1BYTE_DATA(text), size);
}

static int put_number(Out *out, PyObject *number) {
    int over = 1;
    int64_t n = PyLong_CheckExact(number) ? PyLong_AsLongLongAndOverflow(number, &over) : 0;
    return over ? -1 : put_long(out, n);
}

/* cause(correlation, causation, command id, body hash, partition or None, offset) -> the middle of meta */
PyObject *usance_cause(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    if (count != 6 || !PyBytes_CheckExact(args[3]) || PyBytes_GET_SIZE(args[3]) != 32) Py_RETURN_NONE;
    unsigned char stack[STACK];
    Out out = {stack, stack, stack + STACK, NULL, NULL, NULL, NULL};
    PyObject *made = NULL;
    int done = put_text(&out, args[0]) < 0 || put_text(&out, args[1]) < 0 || put_text(&out, args[2]) < 0
        || put(&out, PyBytes_AS_STRING(args[3]), 32) < 0;
    if (!done) {
        if (args[4] == Py_None) done = put(&out, "\0", 1) < 0;
        else done = put(&out, "\2", 1) < 0 || put_number(&out, args[4]) < 0 || put_number(&out, args[5]) < 0;
    }
    if (!done) made = PyBytes_FromStringAndSize((const char *)out.start, out.at - out.start);
    PyMem_Free(out.heap);
    if (made != NULL || grave()) return made;
    PyErr_Clear();
    Py_RETURN_NONE;
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

/* The frame of records with one key, context and instant. */

static PyObject *prefixed_of(PyObject *first, PyObject *part, PyObject *last) {
    Py_ssize_t own = part == Py_None ? 0 : PyBytes_GET_SIZE(part);
    Py_ssize_t around = (first ? PyBytes_GET_SIZE(first) : 0) + (last ? PyBytes_GET_SIZE(last) : 0);
    PyObject *made = PyBytes_FromStringAndSize(NULL, around + 4 + own);
    if (made == NULL) return NULL;
    char *at = PyBytes_AS_STRING(made);
    if (first) at = add(at, first);
    if (part == Py_None) {
        memset(at, 0xff, 4);
        at += 4;
    } else {
        at = add(add_u32(at, own), part);
    }
    if (last) add(at, last);
    return made;
}

static PyObject *packed_of(PyObject *source, PyObject *subject, PyObject *time) {
    static const char NAME[] = "\x92\xaa" "ce_subject";
    Py_ssize_t size = subject == Py_None ? 0 : PyBytes_GET_SIZE(subject);
    Py_ssize_t more = subject == Py_None ? 0 : 12 + (size < 256 ? 2 : size < 65536 ? 3 : 5) + size;
    PyObject *made = PyBytes_FromStringAndSize(NULL, PyBytes_GET_SIZE(source) + more + PyBytes_GET_SIZE(time));
    if (made == NULL) return NULL;
    char *at = add(PyBytes_AS_STRING(made), source);
    if (subject != Py_None) {
        memcpy(at, NAME, 12);
        at = add(add_mark(at + 12, size), subject);
    }
    add(at, time);
    return made;
}

/* frame(source's packed, hashed, time's packed, hashed, key, subject, start, end) -> the frame, or None */
PyObject *usance_frame(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    if (count != 8) Py_RETURN_NONE;
    for (int i = 0; i < 8; i++)
        if (!(PyBytes_CheckExact(args[i]) && PyBytes_GET_SIZE(args[i]) < INT32_MAX / 16)
            && !(args[i] == Py_None && (i == 4 || i == 5)))
            Py_RETURN_NONE;
    PyObject *packed = packed_of(args[0], args[5], args[2]);
    PyObject *hashed = packed == NULL ? NULL : prefixed_of(args[1], args[5], args[3]);
    PyObject *key = hashed == NULL ? NULL : prefixed_of(NULL, args[4], NULL);
    PyObject *made = key == NULL ? NULL : PyTuple_Pack(5, args[6], packed, hashed, key, args[7]);
    Py_XDECREF(packed);
    Py_XDECREF(hashed);
    Py_XDECREF(key);
    return made;
}

/* The hash of a record that is there already. */

static const char *const HASHED_NAMES[USANCE_HASHED] = {
    "ce_specversion", "ce_id", "ce_type", "ce_source", "ce_subject", "ce_time", "usance-meta",
};

enum { SUBJECT = 4 };

static bool is_named(PyObject *text, const char *name) {
    Py_ssize_t size = (Py_ssize_t)strlen(name);
    return PyUnicode_CheckExact(text) && PyUnicode_IS_COMPACT_ASCII(text) && PyUnicode_GET_LENGTH(text) == size
        && memcmp(PyUnicode_1BYTE_DATA(text), name, (size_t)size) == 0;
}

/* Outcomes have no subject; one that stands further behind counts, and is left to the reference. */
static bool has_no_subject(PyObject *headers, Py_ssize_t from) {
    for (Py_ssize_t i = from; i < PyTuple_GET_SIZE(headers); i++) {
        PyObject *pair = PyTuple_GET_ITEM(headers, i);
        if (!PyTuple_CheckExact(pair) || PyTuple_GET_SIZE(pair) != 2 || !PyUnicode_CheckExact(PyTuple_GET_ITEM(pair, 0))
            || is_named(PyTuple_GET_ITEM(pair, 0), HASHED_NAMES[SUBJECT]))
            return false;
    }
    return true;
}

bool usance_hashed_headers(PyObject *headers, PyObject **values) {
    if (!PyTuple_CheckExact(headers)) return false;
    Py_ssize_t at = 0, count = PyTuple_GET_SIZE(headers);
    for (int i = 0; i < USANCE_HASHED; i++) {
        PyObject *pair = at < count ? PyTuple_GET_ITEM(headers, at) : NULL;
        if (pair == NULL || !PyTuple_CheckExact(pair) || PyTuple_GET_SIZE(pair) != 2) return false;
        if (is_named(PyTuple_GET_ITEM(pair, 0), HASHED_NAMES[i])) {
            values[i] = PyTuple_GET_ITEM(pair, 1);
            at++;
        } else if (i == SUBJECT && has_no_subject(headers, at)) {
            values[i] = Py_None;
        } else {
            return false;
        }
    }
    return true;
}

/* envelope_hash(key, value, headers) -> hash, or None where headers are not as they are written */
PyObject *usance_envelope_hash(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    PyObject *part[USANCE_HASHED + 2];
    if (count != 3 || !usance_hashed_headers(args[2], part)) Py_RETURN_NONE;
    part[USANCE_HASHED] = args[0];
    part[USANCE_HASHED + 1] = args[1];
    Py_ssize_t total = 0;
    for (int i = 0; i < USANCE_HASHED + 2; i++) {
        bool is_absent = part[i] == Py_None && (i == SUBJECT || i >= USANCE_HASHED);
        if (!is_absent && (!PyBytes_CheckExact(part[i]) || PyBytes_GET_SIZE(part[i]) > INT32_MAX / 16)) Py_RETURN_NONE;
        total += is_absent ? 4 : 4 + PyBytes_GET_SIZE(part[i]);
    }
    PyObject *whole = PyBytes_FromStringAndSize(NULL, total);
    if (whole == NULL) return NULL;
    char *at = PyBytes_AS_STRING(whole);
    for (int i = 0; i < USANCE_HASHED + 2; i++) {
        if (part[i] == Py_None) at = add_u32(at, UINT32_MAX);
        else at = add(add_u32(at, PyBytes_GET_SIZE(part[i])), part[i]);
    }
    State *state = PyModule_GetState(module);
    PyObject *digest = sha256_of(state, whole);
    Py_DECREF(whole);
    if (digest == NULL && !PyErr_Occurred()) Py_RETURN_NONE;
    return digest;
}
