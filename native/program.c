/* Programs: from the nested tuples that messages/codec.py makes of a schema and a class, to nodes. */
#include "native.h"

/* Keeps an object as long as the program lives. */
static int hold(Program *self, PyObject *object) { return PyList_Append(self->refs, object); }

static void drop_node(Node *node) {
    if (node == NULL) return;
    drop_node(node->inner);
    for (Py_ssize_t i = 0; i < node->count; i++) {
        drop_node(node->fields[i].node);
        Private *private = node->fields[i].private;
        if (private == NULL) continue;
        for (Py_ssize_t j = 0; j < private->count; j++) drop_node(private->blocks[j].node);
        PyMem_Free(private->blocks);
        PyMem_Free(private);
    }
    PyMem_Free(node->fields);
    PyMem_Free(node);
}

static int malformed(const char *what) {
    PyErr_Format(PyExc_TypeError, "a codec program is malformed: %s", what);
    return -1;
}

static void *zeroed(Py_ssize_t count, size_t size) {
    void *made = PyMem_Calloc(count ? (size_t)count : 1, size);
    if (made == NULL) PyErr_NoMemory();
    return made;
}

/* Where a class keeps a field, by its slot's descriptor: a plain object reference within the instance. */
static Py_ssize_t offset_of(PyTypeObject *cls, PyObject *slot) {
    if (!Py_IS_TYPE(slot, &PyMemberDescr_Type)) return malformed("a field has no slot");
    PyMemberDef *member = ((PyMemberDescrObject *)slot)->d_member;
    if (!PyType_IsSubtype(cls, ((PyDescrObject *)slot)->d_type)) return malformed("a foreign slot");
    if (member->type != T_OBJECT_EX || member->offset < (Py_ssize_t)sizeof(PyObject)
        || member->offset + (Py_ssize_t)sizeof(PyObject *) > cls->tp_basicsize)
        return malformed("a slot of another kind");
    return member->offset;
}

static Node *node_of(Program *self, PyObject *spec, int depth);

static int bytes_of(Program *self, PyObject *object, const char **data, Py_ssize_t *size) {
    if (!PyBytes_CheckExact(object)) return malformed("no bytes");
    *data = PyBytes_AS_STRING(object);
    *size = PyBytes_GET_SIZE(object);
    return hold(self, object);
}

/* (slot, head, fingerprint, optional, node, slot of subject) */
static int block_of(Program *self, PyTypeObject *cls, PyObject *spec, Block *block, int depth) {
    PyObject *slot, *head, *print, *inner, *subject;
    int optional;
    Py_ssize_t size;
    if (!PyArg_ParseTuple(spec, "OOOpOO", &slot, &head, &print, &optional, &inner, &subject)) return -1;
    block->optional = optional;
    if ((block->at = offset_of(cls, slot)) < 0) return -1;
    if (bytes_of(self, head, &block->head, &block->head_size) < 0) return -1;
    if (bytes_of(self, print, &block->print, &size) < 0) return -1;
    if (size != 8) return malformed("a fingerprint");
    if ((block->node = node_of(self, inner, depth)) == NULL) return -1;
    if (block->node->op != OP_STRUCT) return malformed("a block");
    return (block->subject_at = offset_of(block->node->cls, subject)) < 0 ? -1 : 0;
}

/* (unusual, names, blocks) */
static int private_of(Program *self, PyTypeObject *cls, PyObject *spec, Field *field, int depth) {
    PyObject *unusual, *names, *blocks;
    if (cls == NULL) return malformed("private blocks in no struct");
    if (!PyArg_ParseTuple(spec, "OO!O!", &unusual, &PyTuple_Type, &names, &PyTuple_Type, &blocks)) return -1;
    Py_ssize_t count = PyTuple_GET_SIZE(blocks);
    if (count == 0 || count > 63 || PyTuple_GET_SIZE(names) != count) return malformed("private blocks");
    Private *private = field->private = zeroed(1, sizeof(Private));
    if (private == NULL) return -1;
    private->unusual = unusual;
    private->names = names;
    if (hold(self, unusual) < 0 || hold(self, names) < 0) return -1;
    if ((private->blocks = zeroed(count, sizeof(Block))) == NULL) return -1;
    private->count = count;
    for (Py_ssize_t i = 0; i < count; i++)
        if (block_of(self, cls, PyTuple_GET_ITEM(blocks, i), &private->blocks[i], depth) < 0) return -1;
    private->bare = true;
    for (Py_ssize_t i = 0; i < count; i++) private->bare = private->bare && private->blocks[i].optional;
    return 0;
}

/* (place, node, default or (), bytes of the default, tag or None); node None: place holds private blocks */
static int field_of(Program *self, Node *node, PyObject *spec, Field *field, Py_ssize_t i, int depth) {
    PyObject *place, *inner, *usual, *data, *tag;
    if (!PyTuple_Check(spec)) return malformed("a field");
    if (!PyArg_ParseTuple(spec, "OOO!SO", &place, &inner, &PyTuple_Type, &usual, &data, &tag)) return -1;
    if (inner == Py_None) return private_of(self, node->cls, place, field, depth);
    if ((field->node = node_of(self, inner, depth)) == NULL) return -1;
    if (node->op == OP_STRUCT) {
        if ((field->at = offset_of(node->cls, place)) < 0) return -1;
    } else if (node->op == OP_TUPLE) {
        field->at = i;
    } else {
        if (!PyUnicode_CheckExact(place)) return malformed("a key");
        field->name = place;
    }
    if (hold(self, place) < 0) return -1;
    if (PyTuple_GET_SIZE(usual)) {
        field->usual = PyTuple_GET_ITEM(usual, 0);
        if (hold(self, usual) < 0 || bytes_of(self, data, &field->data, &field->size) < 0) return -1;
        if (node->op != OP_STRUCT || field->size == 0) return malformed("a default");
    }
    if (tag != Py_None) {
        field->tag = tag;
        if (hold(self, tag) < 0) return -1;
    }
    return 0;
}

static int fields_of(Program *self, Node *node, PyObject *specs, int depth) {
    Py_ssize_t count = PyTuple_GET_SIZE(specs);
    if ((node->fields = zeroed(count, sizeof(Field))) == NULL) return -1;
    node->count = count;
    for (Py_ssize_t i = 0; i < count; i++)
        if (field_of(self, node, PyTuple_GET_ITEM(specs, i), &node->fields[i], i, depth) < 0) return -1;
    return 0;
}

/* (op, class, blank, tracked, fields) */
static int struct_of(Program *self, Node *node, PyObject *spec, int depth) {
    PyObject *cls, *blank, *fields;
    int op, tracked;
    if (!PyArg_ParseTuple(spec, "iOOpO!", &op, &cls, &blank, &tracked, &PyTuple_Type, &fields)) return -1;
    if (!PyType_Check(cls) || (PyObject *)Py_TYPE(blank) != cls) return malformed("a class");
    node->cls = (PyTypeObject *)cls;
    node->blank = blank;
    node->tracked = tracked && PyType_IS_GC(node->cls);
    if (hold(self, cls) < 0 || hold(self, blank) < 0) return -1;
    if (node->cls->tp_itemsize != 0) return malformed("a struct of varying size");
    return fields_of(self, node, fields, depth);
}

/* (op, class, fields) */
static int tuple_of(Program *self, Node *node, PyObject *spec, int depth) {
    PyObject *cls, *fields;
    int op;
    if (!PyArg_ParseTuple(spec, "iO!O!", &op, &PyType_Type, &cls, &PyTuple_Type, &fields)) return -1;
    node->cls = (PyTypeObject *)cls;
    if (hold(self, cls) < 0) return -1;
    if (!PyType_IsSubtype(node->cls, &PyTuple_Type) || node->cls->tp_basicsize != PyTuple_Type.tp_basicsize)
        return malformed("no plain named tuple");
    return fields_of(self, node, fields, depth);
}

static int enum_of(Program *self, Node *node, PyObject *spec) {
    int op;
    if (!PyArg_ParseTuple(spec, "iO!O!", &op, &PyList_Type, &node->values, &PyDict_Type, &node->table))
        return -1;
    PyObject *key, *data;
    Py_ssize_t at = 0;
    while (PyDict_Next(node->table, &at, &key, &data))
        if (!PyUnicode_CheckExact(key) || !PyBytes_CheckExact(data)) return malformed("an enum");
    return hold(self, node->values) < 0 || hold(self, node->table) < 0 ? -1 : 0;
}

static int fill(Program *self, Node *node, PyObject *spec, int depth) {
    int op;
    PyObject *inner = NULL, *fields = NULL;
    switch (node->op) {
    case OP_FIXED:
        if (!PyArg_ParseTuple(spec, "in", &op, &node->size)) return -1;
        return node->size < 0 ? malformed("a size") : 0;
    case OP_ENUM: return enum_of(self, node, spec);
    case OP_NULLABLE:
        if (!PyArg_ParseTuple(spec, "iiO", &op, &node->index, &inner)) return -1;
        if (node->index != 0 && node->index != 1) return malformed("a union");
        break;
    case OP_ARRAY:
    case OP_MAP:
        if (!PyArg_ParseTuple(spec, "inO", &op, &node->size, &inner)) return -1;
        if (node->size < 0) return malformed("a bound");
        break;
    case OP_STRUCT: return struct_of(self, node, spec, depth);
    case OP_TUPLE: return tuple_of(self, node, spec, depth);
    case OP_DICT:
        if (!PyArg_ParseTuple(spec, "iO!", &op, &PyTuple_Type, &fields)) return -1;
        return fields_of(self, node, fields, depth);
    default: return 0;
    }
    return (node->inner = node_of(self, inner, depth)) == NULL ? -1 : 0;
}

static Node *node_of(Program *self, PyObject *spec, int depth) {
    if (!PyTuple_CheckExact(spec) || PyTuple_GET_SIZE(spec) < 1 || depth > DEPTH_MAX) {
        malformed("a node, or its depth");
        return NULL;
    }
    long op = PyLong_AsLong(PyTuple_GET_ITEM(spec, 0));
    if (op < 0 || op >= OPS) {
        if (!PyErr_Occurred()) malformed("an operation");
        return NULL;
    }
    Node *node = zeroed(1, sizeof(Node));
    if (node == NULL) return NULL;
    node->op = (enum op)op;
    if (fill(self, node, spec, depth + 1) < 0) {
        drop_node(node);
        return NULL;
    }
    return node;
}

/* Program(spec, keeps, reader, writer): the last two are the generated codec. */
PyObject *usance_program_new(PyTypeObject *type, PyObject *args, PyObject *kwds) {
    PyObject *spec, *reader, *writer;
    int keeps;
    if (kwds != NULL && PyDict_GET_SIZE(kwds)) {
        malformed("names");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "OpOO", &spec, &keeps, &reader, &writer)) return NULL;
    Program *self = (Program *)type->tp_alloc(type, 0);
    if (self == NULL) return NULL;
    self->state = PyType_GetModuleState(type);
    self->keeps = keeps;
    self->reader = Py_NewRef(reader);
    self->writer = Py_NewRef(writer);
    self->refs = PyList_New(0);
    if (self->state == NULL || self->refs == NULL || (self->root = node_of(self, spec, 0)) == NULL) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static int program_traverse(Program *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->refs);
    Py_VISIT(self->reader);
    Py_VISIT(self->writer);
    return 0;
}

/* Nodes go with what they point at: a program that was cleared has no root, and does nothing. */
static int program_clear(Program *self) {
    Node *root = self->root;
    self->root = NULL;
    drop_node(root);
    Py_CLEAR(self->refs);
    Py_CLEAR(self->reader);
    Py_CLEAR(self->writer);
    return 0;
}

static void program_dealloc(Program *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    program_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef program_methods[] = {
    {"read", (PyCFunction)(void (*)(void))usance_read, METH_FASTCALL,
     "read(data, start, blocks): return the value that fills data from start."},
    {"write", (PyCFunction)(void (*)(void))usance_write, METH_FASTCALL,
     "write(value, prefix, splices={}): return prefix and Avro bytes."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot program_slots[] = {
    {Py_tp_doc, "A schema paired with a class, ready to read and write."},
    {Py_tp_new, usance_program_new},
    {Py_tp_traverse, program_traverse},
    {Py_tp_clear, program_clear},
    {Py_tp_dealloc, program_dealloc},
    {Py_tp_methods, program_methods},
    {0, NULL},
};

PyType_Spec usance_program_spec = {
    .name = "usance._native.Program",
    .basicsize = sizeof(Program),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = program_slots,
};
