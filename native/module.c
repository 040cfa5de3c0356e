/* The module `usance._native`; see native.h. */
#include "native.h"

static PyObject *found_in(const char *name, const char *attribute) {
    PyObject *module = PyImport_ImportModule(name);
    PyObject *found = module == NULL ? NULL : PyObject_GetAttrString(module, attribute);
    Py_XDECREF(module);
    return found;
}

/* Names of what messages/sealed.py and crypto/sealing.py keep for sealing and opening. */
static int intern_names(State *state) {
    PyObject **to[] = {&state->keys, &state->place, &state->suffixes, &state->head, &state->commit, &state->encrypt,
                       &state->decrypt, &state->key_id, &state->cipher, &state->seals};
    static const char *const names[] = {"keys", "place", "suffixes", "head", "commit", "encrypt", "decrypt", "key_id",
                                        "cipher", "seals"};
    for (size_t i = 0; i < sizeof(to) / sizeof(*to); i++)
        if ((*to[i] = PyUnicode_InternFromString(names[i])) == NULL) return -1;
    static const char *const cause[] = {"correlation", "causation", "command_id", "body_hash", "partition", "offset"};
    for (int i = 0; i < 6; i++)
        if ((state->cause_names[i] = PyUnicode_InternFromString(cause[i])) == NULL) return -1;
    return 0;
}

static int module_exec(PyObject *module) {
    State *state = PyModule_GetState(module);
    usance_choose_hashes();
    state->clear = PyUnicode_InternFromString("clear");
    state->splices = PyUnicode_InternFromString("splices");
    state->digest = PyUnicode_InternFromString("digest");
    state->open = PyUnicode_InternFromString("open");
    if (intern_names(state) < 0) return -1;
    state->sha256 = found_in("hashlib", "sha256");
    state->sha1 = found_in("hashlib", "sha1");
    state->sha1_names = Py_BuildValue("(s)", "usedforsecurity");
    state->receipt_names = Py_BuildValue("(sss)", "partition", "index", "envelope_hash");
    state->accepted = PyUnicode_InternFromString("accepted");
    state->outcome_names = Py_BuildValue("(ssssss)", "command_id", "body_hash", "answer", "log_time", "receipts",
                                         "revision");
    PyObject *base = found_in("msgspec", "Struct");
    state->copy = base == NULL ? NULL : PyObject_GetAttrString(base, "__copy__");
    Py_XDECREF(base);
    state->program = (PyTypeObject *)PyType_FromModuleAndSpec(module, &usance_program_spec, NULL);
    state->cipher_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &usance_cipher_spec, NULL);
    if (state->clear == NULL || state->splices == NULL || state->digest == NULL || state->open == NULL
        || state->sha256 == NULL || state->sha1 == NULL || state->sha1_names == NULL || state->receipt_names == NULL
        || state->accepted == NULL || state->outcome_names == NULL
        || state->copy == NULL || state->program == NULL || state->cipher_type == NULL)
        return -1;
    if (PyModule_AddIntConstant(module, "LAYOUT", LAYOUT) < 0
        || PyModule_AddIntConstant(module, "FAST_HASHES", usance_hashes_fast) < 0)
        return -1;
    return PyModule_AddType(module, state->cipher_type) < 0 ? -1 : PyModule_AddType(module, state->program);
}

static int module_traverse(PyObject *module, visitproc visit, void *arg) {
    State *state = PyModule_GetState(module);
    Py_VISIT(state->program);
    Py_VISIT(state->cipher_type);
    Py_VISIT(state->invalid_tag);
    Py_VISIT(state->copy);
    Py_VISIT(state->sha256);
    Py_VISIT(state->sha1);
    return 0;
}

static int module_clear(PyObject *module) {
    State *state = PyModule_GetState(module);
    Py_CLEAR(state->program);
    Py_CLEAR(state->cipher_type);
    Py_CLEAR(state->invalid_tag);
    Py_CLEAR(state->copy);
    Py_CLEAR(state->clear);
    Py_CLEAR(state->splices);
    Py_CLEAR(state->digest);
    Py_CLEAR(state->open);
    Py_CLEAR(state->keys);
    Py_CLEAR(state->place);
    Py_CLEAR(state->suffixes);
    Py_CLEAR(state->head);
    Py_CLEAR(state->commit);
    Py_CLEAR(state->encrypt);
    Py_CLEAR(state->decrypt);
    Py_CLEAR(state->key_id);
    Py_CLEAR(state->cipher);
    Py_CLEAR(state->seals);
    Py_CLEAR(state->sha256);
    Py_CLEAR(state->sha1);
    Py_CLEAR(state->sha1_names);
    Py_CLEAR(state->receipt_names);
    Py_CLEAR(state->accepted);
    Py_CLEAR(state->outcome_names);
    for (int i = 0; i < 6; i++) Py_CLEAR(state->cause_names[i]);
    for (int i = 0; i < SHORTS; i++) Py_CLEAR(state->shorts[i]);
    return 0;
}

static void module_free(void *module) { module_clear(module); }

static PyMethodDef module_methods[] = {
    {"seal", (PyCFunction)(void (*)(void))usance_seal, METH_FASTCALL,
     "Return packed headers and envelope hash of a record, or None."},
    {"uuid5", (PyCFunction)(void (*)(void))usance_uuid5, METH_FASTCALL,
     "uuid5(namespace, name): return the UUIDv5 as text in bytes."},
    {"murmur2", usance_murmur2, METH_O, "murmur2(data): return Kafka's 32-bit murmur2."},
    {"namespace", usance_namespace, METH_O, "Return the 16 bytes of a UUID in its usual form, or None."},
    {"cause", (PyCFunction)(void (*)(void))usance_cause, METH_FASTCALL,
     "Return the part of `usance-meta` that the records of one command share, or None."},
    {"frame", (PyCFunction)(void (*)(void))usance_frame, METH_FASTCALL,
     "Return what stands around type, id and meta of a record, or None."},
    {"chain", (PyCFunction)(void (*)(void))usance_chain, METH_FASTCALL,
     "Return outputs, receipts and the chain after records from their values, or None."},
    {"decided", (PyCFunction)(void (*)(void))usance_decided, METH_FASTCALL,
     "Return the records of an accepted command's events and outcome, or None."},
    {"envelope_hash", (PyCFunction)(void (*)(void))usance_envelope_hash, METH_FASTCALL,
     "Return the SHA-256 of a record's envelope, or None."},
    {"skim", (PyCFunction)(void (*)(void))usance_skim, METH_FASTCALL,
     "Return revision, index and the identity of the command from a `usance-meta`, or None."},
    {"records", (PyCFunction)(void (*)(void))usance_records, METH_FASTCALL,
     "Return the records of a run of rows, or None."},
    {"packed", (PyCFunction)(void (*)(void))usance_packed, METH_FASTCALL,
     "Return places and body of packed outputs, or None."},
    {"kafka_bind", (PyCFunction)(void (*)(void))usance_kafka_bind, METH_FASTCALL,
     "kafka_bind(path, Producer): take librdkafka's functions from a loaded library; True if all are there."},
    {"kafka_record", (PyCFunction)(void (*)(void))usance_kafka_record, METH_FASTCALL,
     "Return a message of the Kafka client as a record, or None."},
    {"kafka_send", (PyCFunction)(void (*)(void))usance_kafka_send, METH_FASTCALL,
     "kafka_send(producer, rows): queue records without the interpreter's lock; returns librdkafka's number."},
    {"sha256", (PyCFunction)(void (*)(void))usance_sha256, METH_FASTCALL,
     "sha256(data, plainly, cuts): return the digest, fed in parts; for the tests."},
    {"digest", usance_digest, METH_O, "digest(data): return SHA-256."},
    {"hex_digest", (PyCFunction)(void (*)(void))usance_hex_digest, METH_FASTCALL,
     "hex_digest(key, data): return HMAC-SHA256 in hex, SHA-256 where the key is empty."},
    {"sha1", (PyCFunction)(void (*)(void))usance_sha1, METH_FASTCALL,
     "sha1(data, plainly): return the digest of up to 55 bytes, or None; for the tests."},
    {"leaves", (PyCFunction)(void (*)(void))usance_leaves, METH_FASTCALL,
     "Return the leaves of records that follow one another, and the chain behind them, or None."},
    {"leaf_hashes", usance_leaf_hashes, METH_O, "Return the leaf hashes of entries, or None."},
    {"root_of", usance_root_of, METH_O, "Return the root over nodes of one level, or None."},
    {"bundle", usance_bundle, METH_O, "Return entries as an entry bundle, or None."},
    {"store_files", (PyCFunction)(void (*)(void))usance_store_files, METH_FASTCALL,
     "Write files durably, all in one go; or return those that are there already."},
    {"drop_folders", usance_drop_folders, METH_O, "Remove folders of files, as far as that goes."},
    {"gcm_bind", (PyCFunction)(void (*)(void))usance_gcm_bind, METH_FASTCALL,
     "gcm_bind(path, InvalidTag): take libcrypto's functions from a loaded library; return its version, or None."},
    {"cold", (PyCFunction)(void (*)(void))usance_cold, METH_FASTCALL,
     "cold(values, keys): return at which values a data key may be missing."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "usance._native",
    .m_doc = "The compiled codec; `usance.kernel.native` decides whether it runs.",
    .m_size = sizeof(State),
    .m_methods = module_methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&definition); }
