/* Private blocks: AES-256-GCM of the libcrypto that Python itself has loaded, and the data that binds a block to
 * its place. crypto/sealing.py is the reference, and says what the bytes are and why.
 *
 * No cipher is written here, and no library is looked for: the functions are those that hashlib's own extension is
 * linked against, and where that has none of its own, Python's `cryptography` seals and opens. A key stands in
 * libcrypto's context alone, which is wiped when the last reference goes.
 */
#include "native.h"

#include <dlfcn.h>

/* What a sealed block begins with, twice: that it is sealed, and the suite. */
#define SEAL_MARK 1

enum { CTRL_GET_TAG = 0x10, CTRL_SET_TAG = 0x11 };

static struct {
    void *(*new)(void);
    void (*free)(void *context);
    const void *(*aes_256_gcm)(void);
    int (*init)(void *context, const void *cipher, void *engine, const unsigned char *key, const unsigned char *nonce,
                int encrypts);
    int (*update)(void *context, unsigned char *out, int *taken, const unsigned char *data, int size);
    int (*final)(void *context, unsigned char *out, int *taken);
    int (*ctrl)(void *context, int what, int size, void *data);
    void (*clear_error)(void);
} lib;

static bool bound;

/* gcm_bind(path, InvalidTag): take libcrypto's functions as the loaded library at `path` sees them; returns the library's
 * name and version, None unless all are there. The exception is what Cipher.decrypt raises. */
PyObject *usance_gcm_bind(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    if (count != 2 || !PyExceptionClass_Check(args[1]))
        return PyErr_Format(PyExc_TypeError, "gcm_bind(path, the exception for a wrong tag)");
    const char *name = PyUnicode_AsUTF8(args[0]);
    if (name == NULL) return NULL;
    void *handle = dlopen(name, RTLD_NOW | RTLD_NOLOAD);
    if (handle == NULL) Py_RETURN_NONE;
    const char *(*version)(int) = NULL;
    struct { void *to; const char *name; } wanted[] = {
        {&version, "OpenSSL_version"},
        {&lib.new, "EVP_CIPHER_CTX_new"},
        {&lib.free, "EVP_CIPHER_CTX_free"},
        {&lib.aes_256_gcm, "EVP_aes_256_gcm"},
        {&lib.init, "EVP_CipherInit_ex"},
        {&lib.update, "EVP_CipherUpdate"},
        {&lib.final, "EVP_CipherFinal_ex"},
        {&lib.ctrl, "EVP_CIPHER_CTX_ctrl"},
        {&lib.clear_error, "ERR_clear_error"},
    };
    for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); i++) {
        void *found = dlsym(handle, wanted[i].name);
        if (found == NULL) Py_RETURN_NONE;
        memcpy(wanted[i].to, &found, sizeof(found));
    }
    State *state = PyModule_GetState(module);
    Py_XSETREF(state->invalid_tag, Py_NewRef(args[1]));
    bound = true;
    return PyUnicode_FromString(version(0));
}

/* Cipher(key, head, commit, key id): the cipher of one data key, and what stands in each block beside it. */
static PyObject *cipher_new(PyTypeObject *type, PyObject *args, PyObject *kwds) {
    const char *key, *head, *commit;
    Py_ssize_t key_size, head_size, commit_size;
    PyObject *key_id;
    if (!bound) return PyErr_Format(PyExc_RuntimeError, "there is no libcrypto to take AES-256-GCM from");
    if (!PyArg_ParseTuple(args, "y#y#y#S", &key, &key_size, &head, &head_size, &commit, &commit_size, &key_id))
        return NULL;
    if (key_size != 32 || head_size != SEAL_HEAD || commit_size != SEAL_COMMIT || (kwds && PyDict_GET_SIZE(kwds)))
        return PyErr_Format(PyExc_ValueError, "Cipher(key, head, commit, key id)");
    Cipher *self = (Cipher *)type->tp_alloc(type, 0);
    if (self == NULL) return NULL;
    memcpy(self->head, head, SEAL_HEAD);
    memcpy(self->commit, commit, SEAL_COMMIT);
    self->key_id = Py_NewRef(key_id);
    self->state = PyType_GetModuleState(type);
    self->context = lib.new();
    if (self->context == NULL
        || lib.init(self->context, lib.aes_256_gcm(), NULL, (const unsigned char *)key, NULL, 1) != 1) {
        lib.clear_error();
        Py_DECREF(self);
        return PyErr_Format(PyExc_RuntimeError, "libcrypto takes no key for AES-256-GCM");
    }
    return (PyObject *)self;
}

static void cipher_dealloc(Cipher *self) {
    PyTypeObject *type = Py_TYPE(self);
    if (self->context != NULL) lib.free(self->context);
    Py_XDECREF(self->key_id);
    type->tp_free(self);
    Py_DECREF(type);
}

static int give(void *context, const void *data, Py_ssize_t size) {
    int taken;
    if (size == 0) return 0;
    return size > INT32_MAX || lib.update(context, NULL, &taken, data, (int)size) != 1 ? -1 : 0;
}

/* Begins a message: the nonce, and the additional data in its parts. */
static int begin(Cipher *self, const void *nonce, const Bound *to, int encrypts) {
    if (lib.init(self->context, NULL, NULL, NULL, nonce, encrypts) != 1) return -1;
    unsigned char whole[512];
    if (to->prefix_size + to->suffix_size + to->head_size > (Py_ssize_t)sizeof(whole))
        return give(self->context, to->prefix, to->prefix_size) < 0 || give(self->context, to->suffix, to->suffix_size) < 0
            ? -1 : give(self->context, to->head, to->head_size);
    unsigned char *at = whole;
    memcpy(at, to->prefix, (size_t)to->prefix_size);
    if (to->suffix_size) memcpy(at + to->prefix_size, to->suffix, (size_t)to->suffix_size);
    if (to->head_size) memcpy(at + to->prefix_size + to->suffix_size, to->head, (size_t)to->head_size);
    return give(self->context, whole, to->prefix_size + to->suffix_size + to->head_size);
}

static int transform(Cipher *self, unsigned char *out, const unsigned char *data, Py_ssize_t size) {
    int taken = 0;
    if (size == 0) return 0;
    return size > INT32_MAX || lib.update(self->context, out, &taken, data, (int)size) != 1 || taken != size ? -1 : 0;
}

int usance_gcm_seal(Cipher *self, const void *nonce, const Bound *to, unsigned char *data, Py_ssize_t size) {
    int rest = 0;
    unsigned char none[16];
    if (begin(self, nonce, to, 1) == 0 && transform(self, data, data, size) == 0
        && lib.final(self->context, none, &rest) == 1 && rest == 0
        && lib.ctrl(self->context, CTRL_GET_TAG, SEAL_TAG, data + size) == 1)
        return 0;
    lib.clear_error();
    return -1;
}

int usance_gcm_open(Cipher *self, const void *nonce, const Bound *to, const unsigned char *text, Py_ssize_t size,
                    unsigned char *plain) {
    int rest = 0;
    unsigned char none[16], tag[SEAL_TAG];
    memcpy(tag, text + size, SEAL_TAG);
    if (begin(self, nonce, to, 0) == 0 && transform(self, plain, text, size) == 0
        && lib.ctrl(self->context, CTRL_SET_TAG, SEAL_TAG, tag) == 1 && lib.final(self->context, none, &rest) == 1
        && rest == 0)
        return 0;
    lib.clear_error();
    memset(plain, 0, (size_t)size);     /* what was not authenticated is seen by nobody */
    return -1;
}

static bool usual(PyObject *const *args, Py_ssize_t count) {
    if (count == 3 && PyBytes_CheckExact(args[0]) && PyBytes_CheckExact(args[1]) && PyBytes_CheckExact(args[2])
        && PyBytes_GET_SIZE(args[0]) == SEAL_NONCE)
        return true;
    PyErr_SetString(PyExc_ValueError, "a nonce of 12 bytes, the data, and the additional data");
    return false;
}

static Bound bound_to(PyObject *aad) {
    return (Bound){PyBytes_AS_STRING(aad), PyBytes_GET_SIZE(aad), NULL, 0, NULL, 0};
}

/* encrypt(nonce, plain, aad) -> ciphertext and tag */
static PyObject *cipher_encrypt(Cipher *self, PyObject *const *args, Py_ssize_t count) {
    if (!usual(args, count)) return NULL;
    Py_ssize_t size = PyBytes_GET_SIZE(args[1]);
    PyObject *made = PyBytes_FromStringAndSize(NULL, size + SEAL_TAG);
    if (made == NULL) return NULL;
    unsigned char *at = (unsigned char *)PyBytes_AS_STRING(made);
    memcpy(at, PyBytes_AS_STRING(args[1]), (size_t)size);
    Bound to = bound_to(args[2]);
    if (usance_gcm_seal(self, PyBytes_AS_STRING(args[0]), &to, at, size) == 0) return made;
    memset(at, 0, (size_t)size);
    Py_DECREF(made);
    return PyErr_Format(PyExc_RuntimeError, "libcrypto does not encrypt");
}

/* decrypt(nonce, ciphertext and tag, aad) -> plain; raises InvalidTag */
static PyObject *cipher_decrypt(Cipher *self, PyObject *const *args, Py_ssize_t count) {
    if (!usual(args, count)) return NULL;
    Py_ssize_t size = PyBytes_GET_SIZE(args[1]) - SEAL_TAG;
    PyObject *made = size < 0 ? NULL : PyBytes_FromStringAndSize(NULL, size);
    if (made == NULL && PyErr_Occurred()) return NULL;
    Bound to = bound_to(args[2]);
    if (made != NULL
        && usance_gcm_open(self, PyBytes_AS_STRING(args[0]), &to, (const unsigned char *)PyBytes_AS_STRING(args[1]), size,
                           (unsigned char *)PyBytes_AS_STRING(made)) == 0)
        return made;
    Py_XDECREF(made);
    PyErr_SetNone(self->state->invalid_tag);
    return NULL;
}

static PyMethodDef cipher_methods[] = {
    {"encrypt", (PyCFunction)(void (*)(void))cipher_encrypt, METH_FASTCALL,
     "encrypt(nonce, plain, aad): return ciphertext and tag."},
    {"decrypt", (PyCFunction)(void (*)(void))cipher_decrypt, METH_FASTCALL,
     "decrypt(nonce, ciphertext and tag, aad): return what was encrypted; raises InvalidTag."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot cipher_slots[] = {
    {Py_tp_doc, "AES-256-GCM under one data key, which is wiped with it."},
    {Py_tp_new, cipher_new},
    {Py_tp_dealloc, cipher_dealloc},
    {Py_tp_methods, cipher_methods},
    {0, NULL},
};

PyType_Spec usance_cipher_spec = {
    .name = "usance._native.Cipher",
    .basicsize = sizeof(Cipher),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = cipher_slots,
};

/* What all blocks of a record are bound to: its tenant's prefix, stream, revision and id. */
int usance_bind_record(Record *record, PyObject *tenant, PyObject *stream, int64_t revision, PyObject *id) {
    record->heap = NULL;
    if (!PyBytes_CheckExact(tenant) || !PyBytes_CheckExact(stream) || !PyBytes_CheckExact(id)
        || PyBytes_GET_SIZE(stream) > 0xffff || PyBytes_GET_SIZE(id) > 0xffff)
        return -1;
    Py_ssize_t size = PyBytes_GET_SIZE(tenant) + PyBytes_GET_SIZE(stream) + PyBytes_GET_SIZE(id) + 14;
    unsigned char *at = record->stack;
    if (size > (Py_ssize_t)sizeof(record->stack) && (at = record->heap = PyMem_Malloc((size_t)size)) == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    record->prefix = (const char *)at;
    record->size = size;
    memcpy(at, PyBytes_AS_STRING(tenant), (size_t)PyBytes_GET_SIZE(tenant));
    at += PyBytes_GET_SIZE(tenant);
    for (int i = 0; i < 2; i++) {
        PyObject *part = i == 0 ? stream : id;
        Py_ssize_t length = PyBytes_GET_SIZE(part);
        *at++ = (unsigned char)(length >> 8);
        *at++ = (unsigned char)length;
        memcpy(at, PyBytes_AS_STRING(part), (size_t)length);
        at += length;
        if (i == 1) break;
        *at++ = 0;
        *at++ = 8;
        for (int shift = 56; shift >= 0; shift -= 8) *at++ = (unsigned char)((uint64_t)revision >> shift);
    }
    return 0;
}

/* The same of a tuple (tenant's prefix, stream, revision or -1, id), as messages/sealed.py keeps it. */
int usance_bind_place(Record *record, PyObject *place) {
    int64_t revision;
    record->heap = NULL;
    if (place == NULL || !PyTuple_CheckExact(place) || PyTuple_GET_SIZE(place) != 4
        || !usance_is_number(PyTuple_GET_ITEM(place, 2), &revision))
        return -1;
    return usance_bind_record(record, PyTuple_GET_ITEM(place, 0), PyTuple_GET_ITEM(place, 1), revision,
                              PyTuple_GET_ITEM(place, 3));
}

/* Finds the next place that may begin a sealed block of suite 1. */
static const char *next_block(const char *at, const char *end) {
    while (end - at > 1 && (at = memchr(at, SEAL_MARK, (size_t)(end - at - 1))) != NULL) {
        if (at[1] == SEAL_MARK) return at;
        at++;
    }
    return NULL;
}

/* cold(values, keys): places in a list of values at which one may name a data key that is not among the keys */
PyObject *usance_cold(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    if (count != 2 || !PyList_CheckExact(args[0]) || !PyDict_CheckExact(args[1]))
        return PyErr_Format(PyExc_TypeError, "cold takes a list and a dictionary");
    PyObject *found = PyList_New(0);
    for (Py_ssize_t i = 0; found != NULL && i < PyList_GET_SIZE(args[0]); i++) {
        PyObject *value = PyList_GET_ITEM(args[0], i);
        if (!PyBytes_CheckExact(value)) continue;
        const char *at = PyBytes_AS_STRING(value), *end = at + PyBytes_GET_SIZE(value);
        int cold = 0;
        while (!cold && at < end && (at = next_block(at, end)) != NULL) {
            PyObject *id = PyBytes_FromStringAndSize(at + 2, end - at - 2 < 16 ? end - at - 2 : 16);
            cold = id == NULL ? -1 : !PyDict_Contains(args[1], id);
            Py_XDECREF(id);
            at = end - at < SEAL_OVER ? end : at + SEAL_OVER;
        }
        PyObject *number = cold > 0 ? PyLong_FromSsize_t(i) : NULL;
        if (cold < 0 || (cold && (number == NULL || PyList_Append(found, number) < 0))) Py_CLEAR(found);
        Py_XDECREF(number);
    }
    return found;
}
