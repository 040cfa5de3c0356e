/* What the files of the extension `usance._native` share; docs/architecture.md section 8 says why it exists.
 *
 * A program is a schema paired with a class, compiled to a tree of nodes; the reader walks bytes along it and
 * makes objects, the writer walks an object along it and makes bytes. Both know the usual cases only: exact
 * str, int, bool, bytes, list, dict, and the very classes of the program. Whatever else they meet, damage
 * above all, is left to the generated Python codec, which is the reference: it raises the error, or finds
 * the rare value good. So a `return NULL` or `-1` here needs no reason.
 */
#ifndef USANCE_NATIVE_H
#define USANCE_NATIVE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Changes whenever Python and C must change together; kernel/native.py asks for its own number. */
#define LAYOUT 12

/* Schemas are our own files; a bound on depth is a bound on the C stack all the same. */
#define DEPTH_MAX 48
/* Texts up to this size are looked up among those of late: currencies, dates, BICs, kinds. */
#define SHORT_MAX 24
#define SHORTS 2048

enum op {
    OP_NULL, OP_BOOLEAN, OP_LONG, OP_FLOAT, OP_DOUBLE, OP_STRING, OP_BYTES, OP_FIXED, OP_ENUM,
    OP_NULLABLE, OP_ARRAY, OP_MAP, OP_STRUCT, OP_TUPLE, OP_DICT, OPS
};

typedef struct Node Node;
typedef struct Private Private;

typedef struct {
    Node *node;         /* NULL: the `private` array, described by `private` */
    Private *private;
    Py_ssize_t at;      /* offset in a struct, index in a tuple */
    PyObject *name;     /* key in a dict */
    PyObject *usual;    /* the class's default, which fresh objects carry; NULL when there is none */
    const char *data;   /* Avro bytes of the default */
    Py_ssize_t size;
    PyObject *tag;      /* of fields whose bytes are kept: what names the schema of those bytes */
} Field;

struct Node {
    enum op op;
    bool tracked;           /* struct: the collector must know its instances */
    Py_ssize_t size;        /* fixed: bytes; array and map: bound on items per block, 0: the bytes left */
    int index;              /* nullable: branch that is not null */
    Node *inner;            /* nullable, array, map */
    PyObject *values;       /* enum: list of values by symbol, None for those the class does not have */
    PyObject *table;        /* enum: bytes by value */
    PyTypeObject *cls;      /* struct, tuple */
    PyObject *blank;        /* struct: an instance with defaults, and None where there is none */
    Py_ssize_t count;
    Field *fields;          /* struct, tuple, dict */
};

typedef struct {
    Py_ssize_t at;          /* offset of the block in the message */
    const char *head;       /* its name with length, as it stands in the array */
    Py_ssize_t head_size;
    const char *print;      /* fingerprint of its schema, 8 bytes */
    bool optional;
    Node *node;
    Py_ssize_t subject_at;  /* offset of `subject` in the block */
} Block;

struct Private {
    PyObject *unusual;      /* unusual(blocks, data, at) -> (structs by field, end) */
    PyObject *names;        /* tuple of field names */
    bool bare;              /* all blocks may be missing */
    Py_ssize_t count;
    Block *blocks;
};

typedef struct {
    PyTypeObject *program;
    PyObject *copy;             /* msgspec.Struct.__copy__ */
    PyObject *clear, *splices, *digest, *open;      /* names of attributes */
    PyObject *keys, *place, *suffixes, *head, *commit, *encrypt, *decrypt, *key_id, *cipher, *seals;
    PyTypeObject *cipher_type;
    PyObject *invalid_tag;      /* of cryptography */
    PyObject *sha256, *sha1, *sha1_names;   /* hashlib's */
    PyObject *receipt_names;    /* of a receipt's fields */
    PyObject *cause_names[6];   /* of what the middle of `usance-meta` says: four of a meta, two of a position */
    PyObject *accepted, *outcome_names;     /* the answer, and the names of an outcome's fields */
    PyObject *shorts[SHORTS];
} State;

typedef struct {
    PyObject_HEAD
    State *state;
    PyObject *refs;             /* all objects that nodes point at */
    PyObject *reader, *writer;  /* the generated codec */
    Node *root;
    bool keeps;                 /* bytes of public records are worth keeping */
} Program;

/* A sealed block: 0x01 | suite | key id 16 | nonce 12 | commitment 16 | ciphertext | tag 16 */
#define SEAL_HEAD 18
#define SEAL_NONCE 12
#define SEAL_COMMIT 16
#define SEAL_TAG 16
#define SEAL_FRONT (SEAL_HEAD + SEAL_NONCE + SEAL_COMMIT)
#define SEAL_OVER (SEAL_FRONT + SEAL_TAG)
#define SEAL_MOST 65536

/* cipher.c: AES-256-GCM under one data key, with what stands in each of its blocks. */
typedef struct {
    PyObject_HEAD
    State *state;
    void *context;          /* libcrypto's */
    PyObject *key_id;
    char head[SEAL_HEAD], commit[SEAL_COMMIT];
} Cipher;

/* The additional data of a block: what all blocks of the record share, what those of the field do, its head. */
typedef struct {
    const char *prefix;
    Py_ssize_t prefix_size;
    const char *suffix;
    Py_ssize_t suffix_size;
    const char *head;
    Py_ssize_t head_size;
} Bound;

typedef struct {
    const char *prefix;
    Py_ssize_t size;
    unsigned char *heap, stack[256];
} Record;

/* What seals the blocks of one record; all but `record` is borrowed. */
typedef struct {
    PyObject *keys, *uses, *seen, *pool, *suffixes;     /* tables of keys, counts, nonces; NULL keys: none at hand */
    PyObject *unusual;      /* unusual(number of the block, subject, plain) -> sealed; NULL: nobody is asked */
    PyObject *owner;        /* whose data blocks without a subject are, in UTF-8; NULL: that is unusual */
    PyObject *counted;      /* ids of keys in the order of their uses; NULL: they need not be taken back */
    Record record;
} Seal;

/* A message being written: on the stack until it outgrows it. */
typedef struct {
    unsigned char *start, *at, *end;
    unsigned char *heap;
    PyObject *splices;
    Seal *seal;         /* what blocks are sealed with; NULL: in clear */
    State *state;
} Out;

/* The additional data as an object, for a cipher of Python's. */
static inline PyObject *usance_aad(const Bound *to) {
    PyObject *whole = PyBytes_FromStringAndSize(NULL, to->prefix_size + to->suffix_size + to->head_size);
    if (whole == NULL) return NULL;
    char *at = PyBytes_AS_STRING(whole);
    memcpy(at, to->prefix, (size_t)to->prefix_size);
    memcpy(at + to->prefix_size, to->suffix, (size_t)to->suffix_size);
    memcpy(at + to->prefix_size + to->suffix_size, to->head, (size_t)to->head_size);
    return whole;
}

/* Bytes of an attribute that must have just this size. */
static inline PyObject *usance_part(PyObject *owner, PyObject *name, Py_ssize_t size) {
    PyObject *part = PyObject_GetAttr(owner, name);
    if (part != NULL && (!PyBytes_CheckExact(part) || PyBytes_GET_SIZE(part) != size)) Py_CLEAR(part);
    return part;
}

int usance_room(Out *out, Py_ssize_t more);

/* cipher.c: 0 when done. Sealing is in place, and puts the tag behind; opening wants the tag behind the text. */
int usance_gcm_seal(Cipher *self, const void *nonce, const Bound *to, unsigned char *data, Py_ssize_t size);
int usance_gcm_open(Cipher *self, const void *nonce, const Bound *to, const unsigned char *text, Py_ssize_t size,
                    unsigned char *plain);
int usance_bind_record(Record *record, PyObject *tenant, PyObject *stream, int64_t revision, PyObject *id);
int usance_bind_place(Record *record, PyObject *place);
static inline void usance_unbind(Record *record) { PyMem_Free(record->heap); }

/* writer.c */
PyObject *usance_write_sealed(Program *self, PyObject *value, PyObject *prefix, PyObject *splices, Seal *seal);
void usance_uncount(Seal *seal);

/* hashes.c */
typedef struct {
    uint32_t state[8];
    uint64_t total;
    unsigned char rest[64];
} Sha;

extern bool usance_hashes_fast;     /* the processor's own instructions run */
void usance_choose_hashes(void);
void usance_sha_start(Sha *sha);
void usance_sha_add(Sha *sha, const void *data, size_t size);
void usance_sha_end(Sha *sha, unsigned char *digest);
void usance_sha(const void *data, size_t size, unsigned char *digest);
bool usance_sha1_short(const unsigned char *data, size_t size, bool plainly, unsigned char *digest);

/* Values of the seven headers that are hashed, None for a subject that is not there; false unless they stand in
 * front, in their order. */
#define USANCE_HASHED 7
bool usance_hashed_headers(PyObject *headers, PyObject **values);

static inline int put(Out *out, const void *data, Py_ssize_t size) {
    if (out->end - out->at < size && usance_room(out, size) < 0) return -1;
    memcpy(out->at, data, (size_t)size);
    out->at += size;
    return 0;
}

static inline unsigned char *put_raw(unsigned char *at, uint64_t raw) {
    while (raw > 127) {
        *at++ = (unsigned char)(raw | 128);
        raw >>= 7;
    }
    *at++ = (unsigned char)raw;
    return at;
}

static inline int put_long(Out *out, int64_t n) {
    if (out->end - out->at < 10 && usance_room(out, 10) < 0) return -1;
    out->at = put_raw(out->at, ((uint64_t)n << 1) ^ (uint64_t)(n >> 63));
    return 0;
}

PyObject *usance_program_new(PyTypeObject *type, PyObject *args, PyObject *kwds);
PyObject *usance_read(Program *self, PyObject *const *args, Py_ssize_t count);
PyObject *usance_write(Program *self, PyObject *const *args, Py_ssize_t count);
PyObject *usance_seal(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *usance_uuid5(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *usance_murmur2(PyObject *module, PyObject *data);
PyObject *usance_namespace(PyObject *module, PyObject *text);
PyObject *usance_cause(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *usance_frame(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *usance_chain(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *usance_decided(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *usance_skim(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *usance_envelope_hash(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *usance_records(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *usance_packed(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *usance_kafka_bind(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *usance_kafka_record(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *usance_kafka_send(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *usance_sha256(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *usance_digest(PyObject *module, PyObject *data);
PyObject *usance_hex_digest(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *usance_sha1(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *usance_leaves(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *usance_leaf_hashes(PyObject *module, PyObject *list);
PyObject *usance_root_of(PyObject *module, PyObject *list);
PyObject *usance_bundle(PyObject *module, PyObject *list);
PyObject *usance_store_files(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *usance_drop_folders(PyObject *module, PyObject *list);
PyObject *usance_gcm_bind(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *usance_cold(PyObject *module, PyObject *const *args, Py_ssize_t count);

/* What a record is made of, in the order of the arguments. */
enum {
    HASHED, PACKED, TAIL,                               /* the type's ce_type, and end of meta */
    HEAD, MIDDLE,                                       /* the cause's part of meta */
    F_START, F_PACKED, F_HASHED, F_KEY, F_END,          /* the frame */
    CE_ID, PREV, PIECES
};

/* Makes headers and envelope hash of one record; both are new references, or neither is there. */
int usance_seal_record(State *state, PyObject **piece, PyObject *value, int64_t revision, int64_t index,
                       PyObject **headers, PyObject **digest);
bool usance_are_pieces(PyObject **piece, int from, int to);
bool usance_is_value(PyObject *value);
bool usance_is_number(PyObject *number, int64_t *n);
PyObject *usance_uuid5_of(State *state, const char *namespace, Py_ssize_t first, const char *name, Py_ssize_t size);

/* Reads the 36 characters of a UUID in its usual form into 16 bytes; false when they are none. */
bool usance_uuid_bytes(const unsigned char *at, unsigned char *out);

/* Tells whether an object is a class of named tuples, without anything beside their items. */
bool usance_is_plain(PyObject *type);

/* A text from UTF-8; short ones are the same object as before, where that is still at hand. */
PyObject *usance_text(State *state, const unsigned char *at, Py_ssize_t size);

extern PyType_Spec usance_program_spec, usance_cipher_spec;

/* Tells whether an exception is set that nobody but the caller may deal with. */
static inline bool grave(void) {
    return PyErr_Occurred()
        && (PyErr_ExceptionMatches(PyExc_MemoryError) || !PyErr_ExceptionMatches(PyExc_Exception));
}

#endif
