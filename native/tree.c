/* Trees of RFC 6962 from records: leaves, their hashes, roots and entry bundles.
 *
 * engine/proof/sealing.py (Tree.take), audit/merkle.py and audit/tiles.py are the reference; `None` from here means:
 * not as usual, ask them, and they say what is wrong. Other threads run while many records are hashed: what is
 * read then lies in bytes objects that a tuple keeps.
 */
#include "native.h"

#define LEAF 62
#define PARTS 9
#define DUE_MOST (10 + 1 + 32)
/* Below this many, giving the interpreter away and winning it back costs more than it gives others. */
#define FREE_FROM 64

static const char FOOTER[] = "UnitFooter";
enum { KIND_OUTCOME = 2, KIND_FOOTER = 9, KIND_LAST = 9 };

typedef struct {
    const char *part[PARTS];
    Py_ssize_t size[PARTS];     /* -1: absent */
    uint64_t offset, time;
    unsigned char kind;
} Source;

static inline char *put_number(char *at, uint64_t n, int bytes) {
    for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) *at++ = (char)(n >> shift & 255);
    return at;
}

static int number(PyObject *object, uint64_t *n) {
    int over = 1;
    int64_t found = PyLong_CheckExact(object) ? PyLong_AsLongLongAndOverflow(object, &over) : 0;
    *n = (uint64_t)found;
    return over || found < 0 ? -1 : 0;
}

static bool ends_in(const Source *from, int part, const char *text) {
    Py_ssize_t size = (Py_ssize_t)strlen(text);
    return from->size[part] >= size
        && memcmp(from->part[part] + from->size[part] - size, text, (size_t)size) == 0;
}

static int take_part(Source *to, int i, PyObject *part) {
    if (part == Py_None) {  /* a subject, key or value that is absent */
        to->size[i] = -1;
        return 0;
    }
    if (!PyBytes_CheckExact(part) || PyBytes_GET_SIZE(part) > INT32_MAX / 16) return -1;
    to->part[i] = PyBytes_AS_STRING(part);
    to->size[i] = PyBytes_GET_SIZE(part);
    return 0;
}

/* A record is a tuple (topic, partition, offset, key, value, headers, time). */
static int take_record(Source *to, PyObject *record, int kind) {
    if (!PyTuple_Check(record) || PyTuple_GET_SIZE(record) != 7) return -1;
    PyObject *headers = PyTuple_GET_ITEM(record, 5), *found[USANCE_HASHED];
    if (!usance_hashed_headers(headers, found)) return -1;
    for (int i = 0; i < USANCE_HASHED; i++)
        if (take_part(to, i, found[i]) < 0 || (i != 4 && found[i] == Py_None)) return -1;
    if (take_part(to, USANCE_HASHED, PyTuple_GET_ITEM(record, 3)) < 0
        || take_part(to, USANCE_HASHED + 1, PyTuple_GET_ITEM(record, 4)) < 0
        || number(PyTuple_GET_ITEM(record, 2), &to->offset) < 0 || number(PyTuple_GET_ITEM(record, 6), &to->time) < 0)
        return -1;
    to->kind = (unsigned char)(kind == KIND_OUTCOME && ends_in(to, 2, FOOTER) ? KIND_FOOTER : kind);
    return 0;
}

static void hash_envelope(const Source *from, unsigned char *digest) {
    Sha sha;
    char length[4];
    usance_sha_start(&sha);
    for (int i = 0; i < PARTS; i++) {
        put_number(length, from->size[i] < 0 ? UINT32_MAX : (uint64_t)from->size[i], 4);
        usance_sha_add(&sha, length, 4);
        if (from->size[i] > 0) usance_sha_add(&sha, from->part[i], (size_t)from->size[i]);
    }
    usance_sha_end(&sha, digest);
}

static uint64_t schema_of(const Source *from) {
    const unsigned char *value = (const unsigned char *)from->part[PARTS - 1];
    if (from->size[PARTS - 1] < 5 || value[0] != 0) return 0;
    return (uint64_t)value[1] << 24 | (uint64_t)value[2] << 16 | (uint64_t)value[3] << 8 | value[4];
}

/* The index as it stands in `usance-meta`, and the chain behind it. */
static bool follows(const Source *from, uint64_t index, const unsigned char *tail) {
    unsigned char due[DUE_MOST], *end = put_raw(due, index << 1);
    *end++ = 2;
    memcpy(end, tail, 32);
    Py_ssize_t size = end + 32 - due, left = from->size[USANCE_HASHED - 1];
    const char *at = from->part[USANCE_HASHED - 1];
    while (left >= size) {
        const char *found = memchr(at, due[0], (size_t)(left - size + 1));
        if (found == NULL) return false;
        if (memcmp(found, due, (size_t)size) == 0) return true;
        left -= found + 1 - at;
        at = found + 1;
    }
    return false;
}

typedef struct {
    Source *sources;
    Py_ssize_t count;
    uint64_t partition, index, time;
    unsigned char tail[32];
    char *leaves;
} Taking;

/* Hashes everything without touching an object; false at a record that does not follow the one before. */
static bool hash_all(Taking *taking) {
    char *at = taking->leaves;
    for (Py_ssize_t i = 0; i < taking->count; i++, taking->index++) {
        const Source *from = &taking->sources[i];
        unsigned char both[64];
        if (from->time < taking->time || !follows(from, taking->index, taking->tail)) return false;
        memcpy(both, taking->tail, 32);
        hash_envelope(from, both + 32);
        usance_sha(both, 64, taking->tail);
        memcpy(at, "UL1", 4);
        at = put_number(at + 4, taking->partition, 4);
        at = put_number(put_number(at, from->offset, 8), from->time, 8);
        *at++ = (char)from->kind;
        *at++ = 0;
        at = put_number(at, schema_of(from), 4);
        memcpy(at, both + 32, 32);
        at += 32;
        taking->time = from->time;
    }
    return true;
}

static PyObject *cut(const char *from, Py_ssize_t count, Py_ssize_t size) {
    PyObject *list = PyList_New(count);
    for (Py_ssize_t i = 0; list != NULL && i < count; i++) {
        PyObject *piece = PyBytes_FromStringAndSize(from + i * size, size);
        if (piece == NULL) Py_CLEAR(list);
        else PyList_SET_ITEM(list, i, piece);
    }
    return list;
}

static PyObject *leaves_of(Taking *taking, PyObject *kept, int kind) {
    for (Py_ssize_t i = 0; i < taking->count; i++)
        if (take_record(&taking->sources[i], PyTuple_GET_ITEM(kept, i), kind) < 0) return NULL;
    bool good;
    if (taking->count < FREE_FROM) {
        good = hash_all(taking);
    } else {
        Py_BEGIN_ALLOW_THREADS
        good = hash_all(taking);
        Py_END_ALLOW_THREADS
    }
    if (!good) return NULL;
    PyObject *leaves = cut(taking->leaves, taking->count, LEAF);
    if (leaves == NULL) return NULL;
    return Py_BuildValue("Ny#", leaves, (const char *)taking->tail, (Py_ssize_t)32);
}

/* leaves(records, partition, kind, index, tail, time) -> ([leaf], tail), or None */
PyObject *usance_leaves(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    Taking taking = {0};
    uint64_t kind;
    if (!usance_hashes_fast) Py_RETURN_NONE;    /* hashlib has faster code than hashes.c for whole envelopes */
    if (count != 6 || !PyList_CheckExact(args[0]) || number(args[1], &taking.partition) < 0
        || taking.partition > UINT32_MAX || number(args[2], &kind) < 0 || kind < 1 || kind > KIND_LAST
        || number(args[3], &taking.index) < 0 || taking.index > INT64_MAX / 2 || !PyBytes_CheckExact(args[4])
        || PyBytes_GET_SIZE(args[4]) != 32 || number(args[5], &taking.time) < 0)
        Py_RETURN_NONE;
    PyObject *kept = PyList_AsTuple(args[0]), *made = NULL;
    if (kept == NULL) return NULL;
    taking.count = PyTuple_GET_SIZE(kept);
    memcpy(taking.tail, PyBytes_AS_STRING(args[4]), 32);
    taking.sources = PyMem_Calloc((size_t)taking.count + 1, sizeof(Source));
    taking.leaves = PyMem_Malloc((size_t)taking.count * LEAF + 1);
    if (taking.sources == NULL || taking.leaves == NULL) PyErr_NoMemory();
    else made = leaves_of(&taking, kept, (int)kind);
    PyMem_Free(taking.sources);
    PyMem_Free(taking.leaves);
    Py_DECREF(kept);
    if (made != NULL || PyErr_Occurred()) return made;
    Py_RETURN_NONE;
}

/* Takes the list's items as a tuple when all are bytes, of one size where `size` is not 0. */
static PyObject *all_bytes(PyObject *list, Py_ssize_t size) {
    if (!PyList_CheckExact(list)) return NULL;
    PyObject *kept = PyList_AsTuple(list);
    for (Py_ssize_t i = 0; kept != NULL && i < PyTuple_GET_SIZE(kept); i++) {
        PyObject *item = PyTuple_GET_ITEM(kept, i);
        if (!PyBytes_CheckExact(item) || (size && PyBytes_GET_SIZE(item) != size)) Py_CLEAR(kept);
    }
    return kept;
}

static PyObject *none_unless_error(void) {
    if (PyErr_Occurred()) return NULL;
    Py_RETURN_NONE;
}

static void hash_leaves(PyObject *kept, unsigned char *to) {
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(kept); i++, to += 32) {
        PyObject *entry = PyTuple_GET_ITEM(kept, i);
        Sha sha;
        usance_sha_start(&sha);
        usance_sha_add(&sha, "", 1);
        usance_sha_add(&sha, PyBytes_AS_STRING(entry), (size_t)PyBytes_GET_SIZE(entry));
        usance_sha_end(&sha, to);
    }
}

/* leaf_hashes(entries) -> [hash], or None */
PyObject *usance_leaf_hashes(PyObject *module, PyObject *list) {
    PyObject *kept = all_bytes(list, 0), *made = NULL;
    if (kept == NULL) return none_unless_error();
    Py_ssize_t count = PyTuple_GET_SIZE(kept);
    unsigned char *hashes = PyMem_Malloc((size_t)count * 32 + 1);
    if (hashes == NULL) {
        PyErr_NoMemory();
    } else if (count < FREE_FROM) {
        hash_leaves(kept, hashes);
    } else {
        Py_BEGIN_ALLOW_THREADS
        hash_leaves(kept, hashes);
        Py_END_ALLOW_THREADS
    }
    if (hashes != NULL) made = cut((const char *)hashes, count, 32);
    PyMem_Free(hashes);
    Py_DECREF(kept);
    return made;
}

/* root_of(hashes) -> the root over nodes of one level, or None; an odd last node is carried up as it is */
PyObject *usance_root_of(PyObject *module, PyObject *list) {
    PyObject *kept = all_bytes(list, 32), *root = NULL;
    if (kept == NULL) return none_unless_error();
    Py_ssize_t count = PyTuple_GET_SIZE(kept);
    char *row = count ? PyMem_Malloc((size_t)count * 32) : NULL;
    for (Py_ssize_t i = 0; row != NULL && i < count; i++)
        memcpy(row + 32 * i, PyBytes_AS_STRING(PyTuple_GET_ITEM(kept, i)), 32);
    Py_DECREF(kept);
    if (row == NULL) return count ? PyErr_NoMemory() : Py_NewRef(Py_None);
    while (count > 1) {
        Py_ssize_t half = count / 2;
        for (Py_ssize_t i = 0; i < half; i++) {
            char node[65];
            node[0] = 1;
            memcpy(node + 1, row + 64 * i, 64);
            usance_sha(node, sizeof(node), (unsigned char *)row + 32 * i);
        }
        if (count & 1) memmove(row + 32 * half, row + 32 * (count - 1), 32);
        count = half + (count & 1);
    }
    root = PyBytes_FromStringAndSize(row, 32);
    PyMem_Free(row);
    return root;
}

/* bundle(entries) -> each entry behind its length as u16, or None */
PyObject *usance_bundle(PyObject *module, PyObject *list) {
    PyObject *kept = all_bytes(list, 0);
    if (kept == NULL) return none_unless_error();
    Py_ssize_t total = 0;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(kept); i++) {
        Py_ssize_t size = PyBytes_GET_SIZE(PyTuple_GET_ITEM(kept, i));
        if (size > 65535) {
            Py_DECREF(kept);
            Py_RETURN_NONE;
        }
        total += 2 + size;
    }
    PyObject *made = PyBytes_FromStringAndSize(NULL, total);
    char *at = made == NULL ? NULL : PyBytes_AS_STRING(made);
    for (Py_ssize_t i = 0; made != NULL && i < PyTuple_GET_SIZE(kept); i++) {
        PyObject *entry = PyTuple_GET_ITEM(kept, i);
        at = put_number(at, (uint64_t)PyBytes_GET_SIZE(entry), 2);
        memcpy(at, PyBytes_AS_STRING(entry), (size_t)PyBytes_GET_SIZE(entry));
        at += PyBytes_GET_SIZE(entry);
    }
    Py_DECREF(kept);
    return made;
}
