/* Files of a proof, written so that a crash leaves none of them half there: many of them without the interpreter.
 *
 * A head's tiles are dozens of small files. Written one by one from Python, each of some ten calls per file hands
 * the interpreter over and waits to win it back, and whoever decides commands pays for that. Here a whole
 * round is one such hand-over. adapters/proof_files.py is the reference.
 */
#include "native.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_MOST 4096
#define PART ".part"

typedef struct {
    const char *path, *data;
    size_t size;
    bool made;          /* its bytes are durable under the other name */
} File;

/* Syncs a folder, so that the names in it are durable. */
static int sync_folder(const char *path) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return -1;
    int done = fsync(fd);
    int error = errno;
    close(fd);
    errno = error;
    return done;
}

/* Copies what stands before the last slash; "." where there is none. */
static void parent_of(const char *path, char *to) {
    const char *slash = strrchr(path, '/');
    size_t size = slash == NULL ? 0 : slash == path ? 1 : (size_t)(slash - path);
    memcpy(to, size ? path : ".", size ? size : 1);
    to[size ? size : 1] = 0;
}

/* Makes a folder and those above it, each durable by name. */
static int make_folder(const char *path) {
    char above[PATH_MOST];
    parent_of(path, above);
    if (mkdir(path, 0777) < 0) {
        if (errno == EEXIST) return 0;
        if (errno != ENOENT || strcmp(above, path) == 0 || make_folder(above) < 0) return -1;
        if (mkdir(path, 0777) < 0 && errno != EEXIST) return -1;
    }
    return sync_folder(above);
}

static int write_all(int fd, const File *file) {
    for (size_t at = 0; at < file->size;) {
        ssize_t n = write(fd, file->data + at, file->size - at);
        if (n < 0 && errno != EINTR) return -1;
        if (n > 0) at += (size_t)n;
    }
    return fsync(fd);
}

static int write_part(File *file) {
    static const int FLAGS = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC;
    char part[PATH_MOST + 8], above[PATH_MOST];
    strcat(strcpy(part, file->path), PART);
    int fd = open(part, FLAGS, 0666);
    if (fd < 0 && errno == ENOENT) {
        parent_of(file->path, above);
        if (make_folder(above) < 0) return -1;
        fd = open(part, FLAGS, 0666);
    }
    if (fd < 0) return -1;
    int done = write_all(fd, file), error = errno;
    if (close(fd) < 0 && done == 0) return -1;
    errno = error;
    file->made = done == 0;
    return done;
}

static int by_path(const void *a, const void *b) { return strcmp(((const File *)a)->path, ((const File *)b)->path); }

/* Bytes first, then names, then folders; the first file that fails ends it. */
static const File *store(File *files, Py_ssize_t count) {
    char part[PATH_MOST + 8], above[PATH_MOST], last[PATH_MOST] = "";
    qsort(files, (size_t)count, sizeof(File), by_path);     /* a folder's files together: it is synced once */
    for (Py_ssize_t i = 0; i < count; i++)
        if (write_part(&files[i]) < 0) return &files[i];
    for (Py_ssize_t i = 0; i < count; i++) {
        strcat(strcpy(part, files[i].path), PART);
        if (rename(part, files[i].path) < 0) return &files[i];
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        parent_of(files[i].path, above);
        if (strcmp(above, last) != 0 && sync_folder(strcpy(last, above)) < 0) return &files[i];
    }
    return NULL;
}

static int take_file(File *file, PyObject *pair) {
    if (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2) return -1;
    PyObject *path = PyTuple_GET_ITEM(pair, 0), *data = PyTuple_GET_ITEM(pair, 1);
    if (!PyBytes_Check(path) || !PyBytes_Check(data) || PyBytes_GET_SIZE(path) >= PATH_MOST - 8
        || strlen(PyBytes_AS_STRING(path)) != (size_t)PyBytes_GET_SIZE(path))
        return -1;
    *file = (File){PyBytes_AS_STRING(path), PyBytes_AS_STRING(data), (size_t)PyBytes_GET_SIZE(data), false};
    return 0;
}

static PyObject *os_error(int error, const char *path) {
    errno = error;
    return PyErr_SetFromErrnoWithFilename(PyExc_OSError, path);
}

/* store_files([(path, data)], anew) -> None: all are durable; or, when not `anew`, a list of paths that are there
 * already, and nothing was written. Raises OSError. */
PyObject *usance_store_files(PyObject *module, PyObject *const *args, Py_ssize_t nargs) {
    if (nargs != 2 || !PyList_CheckExact(args[0])) return PyErr_Format(PyExc_TypeError, "store_files takes a list and a bool");
    PyObject *kept = PyList_AsTuple(args[0]), *found = NULL;
    if (kept == NULL) return NULL;
    Py_ssize_t count = PyTuple_GET_SIZE(kept), there = 0;
    File *files = PyMem_Calloc((size_t)count + 1, sizeof(File));
    const File *failed = NULL;
    int error = 0;
    for (Py_ssize_t i = 0; files != NULL && i < count; i++)
        if (take_file(&files[i], PyTuple_GET_ITEM(kept, i)) < 0) {
            PyErr_SetString(PyExc_TypeError, "a file is a path and data, both bytes");
            PyMem_Free(files);
            Py_DECREF(kept);
            return NULL;
        }
    if (files == NULL) PyErr_NoMemory();
    if (files != NULL) {
        bool anew = args[1] == Py_True;
        Py_BEGIN_ALLOW_THREADS
        for (Py_ssize_t i = 0; !anew && i < count; i++)
            there += files[i].made = access(files[i].path, F_OK) == 0;
        if (there == 0) {
            failed = store(files, count);
            error = errno;
        }
        Py_END_ALLOW_THREADS
        if (failed != NULL) os_error(error, failed->path);
        else found = there ? PyList_New(0) : Py_NewRef(Py_None);
        for (Py_ssize_t i = 0; found != NULL && there && i < count; i++) {
            if (!files[i].made) continue;
            PyObject *path = PyBytes_FromString(files[i].path);
            if (path == NULL || PyList_Append(found, path) < 0) Py_CLEAR(found);
            Py_XDECREF(path);
        }
    }
    PyMem_Free(files);
    Py_DECREF(kept);
    return found;
}

/* Removes a folder of files; what is not there is gone already, what cannot be removed stays. */
static void drop_folder(const char *path) {
    char file[PATH_MOST + 300];
    DIR *folder = opendir(path);
    if (folder == NULL) return;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
        unlink(file);
    }
    closedir(folder);
    rmdir(path);
}

/* drop_folders([path]) -> None: removes folders of files, as far as that goes */
PyObject *usance_drop_folders(PyObject *module, PyObject *list) {
    if (!PyList_CheckExact(list)) return PyErr_Format(PyExc_TypeError, "drop_folders takes a list");
    PyObject *kept = PyList_AsTuple(list);
    if (kept == NULL) return NULL;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(kept); i++) {
        PyObject *path = PyTuple_GET_ITEM(kept, i);
        if (PyBytes_CheckExact(path) && PyBytes_GET_SIZE(path) < PATH_MOST) continue;
        Py_DECREF(kept);
        return PyErr_Format(PyExc_TypeError, "a path is bytes");
    }
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(kept); i++) drop_folder(PyBytes_AS_STRING(PyTuple_GET_ITEM(kept, i)));
    Py_END_ALLOW_THREADS
    Py_DECREF(kept);
    Py_RETURN_NONE;
}
