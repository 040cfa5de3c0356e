/* The module `usance._native`; see native.h. */
#include "native.h"

static int module_exec(PyObject *module) {
    State *state = PyModule_GetState(module);
    PyObject *type = PyType_FromModuleAndSpec(module, &usance_program_spec, NULL);
    if (type == NULL) return -1;
    state->program = (PyTypeObject *)type;
    state->clear = PyUnicode_InternFromString("clear");
    state->splices = PyUnicode_InternFromString("splices");
    PyObject *msgspec = PyImport_ImportModule("msgspec");
    PyObject *base = msgspec == NULL ? NULL : PyObject_GetAttrString(msgspec, "Struct");
    state->copy = base == NULL ? NULL : PyObject_GetAttrString(base, "__copy__");
    Py_XDECREF(msgspec);
    Py_XDECREF(base);
    if (state->clear == NULL || state->splices == NULL || state->copy == NULL) return -1;
    if (PyModule_AddIntConstant(module, "LAYOUT", LAYOUT) < 0) return -1;
    return PyModule_AddType(module, state->program);
}

static int module_traverse(PyObject *module, visitproc visit, void *arg) {
    State *state = PyModule_GetState(module);
    Py_VISIT(state->program);
    Py_VISIT(state->copy);
    return 0;
}

static int module_clear(PyObject *module) {
    State *state = PyModule_GetState(module);
    Py_CLEAR(state->program);
    Py_CLEAR(state->copy);
    Py_CLEAR(state->clear);
    Py_CLEAR(state->splices);
    for (int i = 0; i < SHORTS; i++) Py_CLEAR(state->shorts[i]);
    return 0;
}

static void module_free(void *module) { module_clear(module); }

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "usance._native",
    .m_doc = "The compiled codec; `usance.messages.codec` decides whether it runs.",
    .m_size = sizeof(State),
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&definition); }
