/* Records into the queue of the Kafka client, a whole unit in one call, without the interpreter's lock.
 *
 * The client's own `produce` asks for a report of each record, and every report takes the interpreter's lock:
 * while the owner decides, each of a unit's thousands waits for its turn. Here no report is asked for: of a
 * record that is refused the transaction tells. The functions are those of the librdkafka that the client itself
 * has loaded; adapters/kafka_fast.py says when that may be done.
 */
#include <dlfcn.h>

#include "native.h"

/* librdkafka's numbers for what follows in the call, from its public rdkafka.h. */
enum { V_END = 0, V_RKT = 2, V_PARTITION = 3, V_VALUE = 4, V_KEY = 5, V_MSGFLAGS = 7, V_HEADERS = 10 };
#define MSG_F_COPY 2
#define BAD_HEADERS (-1)    /* beside librdkafka's own numbers: packed headers are damaged, or a name holds NUL */
#define NO_TOPIC (-2)
#define TOPICS_MAX 16

static struct {
    int (*producev)(void *rk, ...);
    void *(*topic_new)(void *rk, const char *name, void *conf);
    void (*topic_destroy)(void *topic);
    void *(*headers_new)(size_t count);
    int (*header_add)(void *headers, const char *name, Py_ssize_t size, const void *value, Py_ssize_t length);
    void (*headers_destroy)(void *headers);
    void *(*opaque)(const void *rk);
} lib;

typedef struct {
    const char *topic;
    const char *value, *key, *headers;
    Py_ssize_t value_size, key_size, headers_size;
    int partition;
} Row;

static PyTypeObject *producers;

/* kafka_bind(path, Producer): take the functions from a library that is loaded already; tells whether all are there. */
PyObject *usance_kafka_bind(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    if (count != 2 || !PyType_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "kafka_bind(path, the class of producers)");
        return NULL;
    }
    const char *name = PyUnicode_AsUTF8(args[0]);
    if (name == NULL) return NULL;
    void *handle = dlopen(name, RTLD_NOW | RTLD_NOLOAD);
    if (handle == NULL) Py_RETURN_FALSE;
    struct { void *to; const char *name; } wanted[] = {
        {&lib.producev, "rd_kafka_producev"},
        {&lib.topic_new, "rd_kafka_topic_new"},
        {&lib.topic_destroy, "rd_kafka_topic_destroy"},
        {&lib.headers_new, "rd_kafka_headers_new"},
        {&lib.header_add, "rd_kafka_header_add"},
        {&lib.headers_destroy, "rd_kafka_headers_destroy"},
        {&lib.opaque, "rd_kafka_opaque"},
    };
    for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); i++) {
        void *found = dlsym(handle, wanted[i].name);
        if (found == NULL) Py_RETURN_FALSE;
        memcpy(wanted[i].to, &found, sizeof(found));
    }
    Py_XSETREF(producers, (PyTypeObject *)Py_NewRef(args[1]));
    Py_RETURN_TRUE;
}

/* The client behind a Producer: the first field of its object, and it names that object as its own. */
static void *client_of(PyObject *producer) {
    if (producers == NULL || !PyObject_TypeCheck(producer, producers)) {
        PyErr_SetString(PyExc_TypeError, "kafka_send wants a producer");
        return NULL;
    }
    void *rk;
    memcpy(&rk, (const char *)producer + sizeof(PyObject), sizeof(rk));
    if (rk == NULL || lib.opaque(rk) != (void *)producer) {
        PyErr_SetString(PyExc_RuntimeError, "the producer is closed");
        return NULL;
    }
    return rk;
}

static int bytes_or_none(PyObject *from, const char **at, Py_ssize_t *size) {
    if (from == Py_None) {
        *at = NULL;
        *size = 0;
        return 0;
    }
    if (!PyBytes_Check(from)) return -1;
    *at = PyBytes_AS_STRING(from);
    *size = PyBytes_GET_SIZE(from);
    return 0;
}

static int row_of(PyObject *from, Row *row) {
    if (!PyTuple_Check(from) || PyTuple_GET_SIZE(from) != 5) return -1;
    row->topic = PyUnicode_AsUTF8(PyTuple_GET_ITEM(from, 0));
    long partition = PyLong_AsLong(PyTuple_GET_ITEM(from, 3));
    if (row->topic == NULL || partition < 0 || partition > INT32_MAX) return -1;
    row->partition = (int)partition;
    if (bytes_or_none(PyTuple_GET_ITEM(from, 1), &row->value, &row->value_size) < 0) return -1;
    if (bytes_or_none(PyTuple_GET_ITEM(from, 2), &row->key, &row->key_size) < 0) return -1;
    return bytes_or_none(PyTuple_GET_ITEM(from, 4), &row->headers, &row->headers_size);
}

/* The size that a MessagePack mark of bytes or text announces, and how long the mark is; -1: another mark. */
static Py_ssize_t size_at(const unsigned char *at, Py_ssize_t left, bool text, Py_ssize_t *size) {
    if (left < 1) return -1;
    if (text && (*at & 0xe0) == 0xa0) {
        *size = *at & 31;
        return 1;
    }
    int wide = *at - (text ? 0xd9 : 0xc4);
    if (wide < 0 || wide > 2 || left < 1 + (1 << wide)) return -1;
    *size = 0;
    for (int i = 1; i <= 1 << wide; i++) *size = *size << 8 | at[i];
    return 1 + (1 << wide);
}

/* Turns packed headers into the library's; false where they are damaged. NULL are no headers. */
static bool headers_of(const unsigned char *at, Py_ssize_t left, void **made) {
    *made = NULL;
    if (left == 0) return true;
    Py_ssize_t count;
    if ((*at & 0xf0) == 0x90) {
        count = *at & 15;
        at += 1, left -= 1;
    } else if (*at == 0xdc && left >= 3) {
        count = at[1] << 8 | at[2];
        at += 3, left -= 3;
    } else {
        return false;
    }
    void *headers = lib.headers_new((size_t)count);
    for (Py_ssize_t i = 0; i < count; i++) {
        Py_ssize_t name, value, mark;
        if (left < 1 || *at != 0x92) goto damaged;
        at += 1, left -= 1;
        if ((mark = size_at(at, left, true, &name)) < 0 || left - mark < name) goto damaged;
        const unsigned char *first = at + mark;
        at += mark + name, left -= mark + name;
        if ((mark = size_at(at, left, false, &value)) < 0 || left - mark < value) goto damaged;
        if (name == 0 || memchr(first, 0, (size_t)name) != NULL) goto damaged;
        if (lib.header_add(headers, (const char *)first, name, at + mark, value) != 0) goto damaged;
        at += mark + value, left -= mark + value;
    }
    if (left == 0) {
        *made = headers;
        return true;
    }
damaged:
    lib.headers_destroy(headers);
    return false;
}

typedef struct {
    const char *name;
    void *topic;
} Known;

static void *topic_of(void *rk, const char *name, Known *known) {
    int at = 0;
    while (at < TOPICS_MAX && known[at].name != NULL && known[at].name != name) at++;
    if (at < TOPICS_MAX && known[at].name == name) return known[at].topic;
    if (at == TOPICS_MAX) {
        lib.topic_destroy(known[--at].topic);
        known[at].name = NULL;
    }
    known[at].topic = lib.topic_new(rk, name, NULL);
    if (known[at].topic != NULL) known[at].name = name;
    return known[at].topic;
}

/* Queues rows until one is refused; returns librdkafka's number for that, 0 when all are queued. */
static int send_all(void *rk, const Row *rows, Py_ssize_t count) {
    Known known[TOPICS_MAX] = {0};
    int error = 0;
    for (const Row *row = rows; error == 0 && row < rows + count; row++) {
        void *topic = topic_of(rk, row->topic, known), *headers;
        if (topic == NULL) {
            error = NO_TOPIC;
        } else if (!headers_of((const unsigned char *)row->headers, row->headers_size, &headers)) {
            error = BAD_HEADERS;
        } else {
            /* A value or key that is not there is told by its address; one of no bytes has an address. */
            error = lib.producev(rk, V_MSGFLAGS, MSG_F_COPY, V_RKT, topic, V_PARTITION, row->partition,
                                 V_KEY, row->key, (size_t)row->key_size, V_VALUE, row->value,
                                 (size_t)row->value_size, V_HEADERS, headers, V_END);
            if (error != 0 && headers != NULL) lib.headers_destroy(headers);
        }
    }
    for (int i = 0; i < TOPICS_MAX && known[i].name != NULL; i++) lib.topic_destroy(known[i].topic);
    return error;
}

/* kafka_send(producer, rows): queue rows (topic, value, key, partition, packed headers or None); returns 0, a
 * number of librdkafka, or -1 for headers and -2 for a topic that cannot be sent. TypeError for other rows. */
PyObject *usance_kafka_send(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    if (count != 2 || !PyList_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "kafka_send(producer, list of rows)");
        return NULL;
    }
    void *rk = client_of(args[0]);
    if (rk == NULL) return NULL;
    /* A copy, so that nobody can take rows away meanwhile. */
    PyObject *held = PyList_AsTuple(args[1]);
    if (held == NULL) return NULL;
    Py_ssize_t many = PyTuple_GET_SIZE(held);
    Row *rows = PyMem_Malloc((size_t)(many ? many : 1) * sizeof(Row));
    PyObject *result = NULL;
    if (rows == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    for (Py_ssize_t i = 0; i < many; i++) {
        if (row_of(PyTuple_GET_ITEM(held, i), &rows[i]) == 0) continue;
        if (!PyErr_Occurred()) PyErr_SetString(PyExc_TypeError, "a row is (topic, value, key, partition, headers)");
        goto done;
    }
    int error;
    Py_BEGIN_ALLOW_THREADS
    error = send_all(rk, rows, many);
    Py_END_ALLOW_THREADS
    result = PyLong_FromLong(error);
done:
    PyMem_Free(rows);
    Py_DECREF(held);
    return result;
}

/* A message of the client as a record. */

static PyObject *names[6];

static int intern_methods(void) {
    static const char *const said[] = {"partition", "offset", "key", "value", "headers", "timestamp"};
    for (int i = 0; i < 6; i++)
        if (names[i] == NULL && (names[i] = PyUnicode_InternFromString(said[i])) == NULL) return -1;
    return 0;
}

/* Texts and bytes hold nothing, and neither do tuples of them: the collector need not walk them. */
static PyObject *unwalked(PyObject *tuple) {
    if (PyObject_GC_IsTracked(tuple)) PyObject_GC_UnTrack(tuple);
    return tuple;
}

static bool is_bytes_or_none(PyObject *part) { return part == Py_None || PyBytes_CheckExact(part); }

/* The pairs of a list as a tuple; NULL where one is not as usual, a null value above all. */
static PyObject *pairs_of(PyObject *list) {
    if (list == Py_None) return PyTuple_New(0);
    if (!PyList_CheckExact(list)) return NULL;
    Py_ssize_t count = PyList_GET_SIZE(list);
    PyObject *pairs = PyTuple_New(count);
    for (Py_ssize_t i = 0; pairs != NULL && i < count; i++) {
        PyObject *pair = PyList_GET_ITEM(list, i);
        if (PyTuple_CheckExact(pair) && PyTuple_GET_SIZE(pair) == 2 && PyUnicode_CheckExact(PyTuple_GET_ITEM(pair, 0))
            && PyBytes_CheckExact(PyTuple_GET_ITEM(pair, 1)))
            PyTuple_SET_ITEM(pairs, i, Py_NewRef(unwalked(pair)));
        else
            Py_CLEAR(pairs);
    }
    return pairs == NULL || count == 0 ? pairs : unwalked(pairs);
}

/* kafka_record(Record, topic, message) -> record, or None where the message is not as usual */
PyObject *usance_kafka_record(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    if (count != 3 || !usance_is_plain(args[0]) || !PyUnicode_CheckExact(args[1]) || intern_methods() < 0) {
        if (PyErr_Occurred()) return NULL;
        Py_RETURN_NONE;
    }
    PyObject *parts[6] = {0}, *pairs = NULL, *record = NULL;
    for (int i = 0; i < 6; i++)
        if ((parts[i] = PyObject_CallMethodNoArgs(args[2], names[i])) == NULL) goto done;
    PyObject *time = parts[5];
    if (PyLong_CheckExact(parts[0]) && PyLong_CheckExact(parts[1]) && is_bytes_or_none(parts[2])
        && is_bytes_or_none(parts[3]) && PyTuple_CheckExact(time) && PyTuple_GET_SIZE(time) == 2)
        pairs = pairs_of(parts[4]);
    record = pairs == NULL ? NULL : ((PyTypeObject *)args[0])->tp_alloc((PyTypeObject *)args[0], 7);
    if (record == NULL) goto done;
    PyTuple_SET_ITEM(record, 0, Py_NewRef(args[1]));
    for (int i = 0; i < 4; i++) PyTuple_SET_ITEM(record, i + 1, Py_NewRef(parts[i]));
    PyTuple_SET_ITEM(record, 5, Py_NewRef(pairs));
    PyTuple_SET_ITEM(record, 6, Py_NewRef(PyTuple_GET_ITEM(time, 1)));
    unwalked(record);
done:
    Py_XDECREF(pairs);
    for (int i = 0; i < 6; i++) Py_XDECREF(parts[i]);
    if (record != NULL || grave()) return record;
    PyErr_Clear();
    Py_RETURN_NONE;
}
