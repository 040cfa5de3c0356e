/* SHA-256 (FIPS 180-4) without a Python object per hash, and SHA-1 for identifiers.
 *
 * Records are hashed by the thousand, most of them in a few blocks: there the objects that hashlib makes cost
 * more than the hashing. On x86-64 the processor's own instructions are used where it has them; elsewhere the
 * plain code runs, and long messages are left to hashlib, which has faster code than that.
 */
#include "native.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define HAS_X86 1
#include <cpuid.h>
#include <immintrin.h>
#endif

typedef void Compress(uint32_t *state, const unsigned char *data, size_t blocks);

static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static inline uint32_t right(uint32_t x, int n) { return x >> n | x << (32 - n); }
static inline uint32_t left(uint32_t x, int n) { return x << n | x >> (32 - n); }

static inline uint32_t big_endian(const unsigned char *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static inline void put_u32(unsigned char *at, uint32_t n) {
    for (int i = 0; i < 4; i++) at[i] = (unsigned char)(n >> (24 - 8 * i));
}

static void compress_plainly(uint32_t *state, const unsigned char *data, size_t blocks) {
    for (; blocks > 0; blocks--, data += 64) {
        uint32_t w[64], v[8];
        for (int t = 0; t < 16; t++) w[t] = big_endian(data + 4 * t);
        for (int t = 16; t < 64; t++) {
            uint32_t a = w[t - 15], b = w[t - 2];
            w[t] = w[t - 16] + (right(a, 7) ^ right(a, 18) ^ a >> 3) + w[t - 7]
                + (right(b, 17) ^ right(b, 19) ^ b >> 10);
        }
        memcpy(v, state, sizeof(v));
        for (int round = 0; round < 64; round += 8) {
#pragma GCC unroll 8
            for (int i = 0; i < 8; i++) {   /* the names of the eight move on by one */
                uint32_t a = v[-i & 7], b = v[(1 - i) & 7], c = v[(2 - i) & 7];
                uint32_t e = v[(4 - i) & 7], f = v[(5 - i) & 7], g = v[(6 - i) & 7], *h = &v[(7 - i) & 7];
                *h += (right(e, 6) ^ right(e, 11) ^ right(e, 25)) + (g ^ (e & (f ^ g))) + K[round + i] + w[round + i];
                v[(3 - i) & 7] += *h;
                *h += (right(a, 2) ^ right(a, 13) ^ right(a, 22)) + ((a & b) | (c & (a | b)));
            }
        }
        for (int i = 0; i < 8; i++) state[i] += v[i];
    }
}

#ifdef HAS_X86
/* The instructions hold the state as (a, b, e, f) and (c, d, g, h), the highest word first. */
__attribute__((target("sha,sse4.1,ssse3")))
static void compress_by_instruction(uint32_t *state, const unsigned char *data, size_t blocks) {
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
    __m128i abcd = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)state), 0xb1);
    __m128i efgh = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(state + 4)), 0x1b);
    __m128i abef = _mm_alignr_epi8(abcd, efgh, 8), cdgh = _mm_blend_epi16(efgh, abcd, 0xf0);
    for (; blocks > 0; blocks--, data += 64) {
        __m128i w[4], abef_before = abef, cdgh_before = cdgh;
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++) {
            __m128i *now = &w[i & 3];
            if (i < 4) {
                *now = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(data + 16 * i)), swap);
            } else {
                const __m128i last = w[(i + 3) & 3];
                const __m128i sevens = _mm_alignr_epi8(last, w[(i + 2) & 3], 4);
                *now = _mm_add_epi32(_mm_sha256msg1_epu32(*now, w[(i + 1) & 3]), sevens);
                *now = _mm_sha256msg2_epu32(*now, last);
            }
            __m128i sum = _mm_add_epi32(*now, _mm_loadu_si128((const __m128i *)(K + 4 * i)));
            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sum);
            abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sum, 0x0e));
        }
        abef = _mm_add_epi32(abef, abef_before);
        cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }
    abcd = _mm_shuffle_epi32(abef, 0x1b);
    efgh = _mm_shuffle_epi32(cdgh, 0xb1);
    _mm_storeu_si128((__m128i *)state, _mm_blend_epi16(abcd, efgh, 0xf0));
    _mm_storeu_si128((__m128i *)(state + 4), _mm_alignr_epi8(efgh, abcd, 8));
}

static bool has_instructions(void) {
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_SSE4_1) || !(c & bit_SSSE3)) return false;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & 1u << 29);
}
#endif

static Compress *compress = compress_plainly;

bool usance_hashes_fast = false;

void usance_choose_hashes(void) {
#ifdef HAS_X86
    if (has_instructions()) {
        compress = compress_by_instruction;
        usance_hashes_fast = true;
    }
#endif
}

static const uint32_t START[8] = {
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
};

void usance_sha_start(Sha *sha) {
    memcpy(sha->state, START, sizeof(START));
    sha->total = 0;
}

static void add_by(Compress *by, Sha *sha, const void *data, size_t size) {
    const unsigned char *at = data;
    size_t kept = sha->total & 63;
    sha->total += size;
    if (kept + size < 64) {
        memcpy(sha->rest + kept, at, size);
        return;
    }
    if (kept > 0) {
        memcpy(sha->rest + kept, at, 64 - kept);
        by(sha->state, sha->rest, 1);
        at += 64 - kept;
        size -= 64 - kept;
    }
    if (size >= 64) by(sha->state, at, size / 64);
    memcpy(sha->rest, at + (size & ~(size_t)63), size & 63);
}

static void end_by(Compress *by, Sha *sha, unsigned char *digest) {
    size_t kept = sha->total & 63;
    uint64_t bits = sha->total << 3;
    sha->rest[kept++] = 0x80;
    if (kept > 56) {
        memset(sha->rest + kept, 0, 64 - kept);
        by(sha->state, sha->rest, 1);
        kept = 0;
    }
    memset(sha->rest + kept, 0, 56 - kept);
    put_u32(sha->rest + 56, (uint32_t)(bits >> 32));
    put_u32(sha->rest + 60, (uint32_t)bits);
    by(sha->state, sha->rest, 1);
    for (int i = 0; i < 8; i++) put_u32(digest + 4 * i, sha->state[i]);
}

void usance_sha_add(Sha *sha, const void *data, size_t size) { add_by(compress, sha, data, size); }

void usance_sha_end(Sha *sha, unsigned char *digest) { end_by(compress, sha, digest); }

void usance_sha(const void *data, size_t size, unsigned char *digest) {
    Sha sha;
    usance_sha_start(&sha);
    usance_sha_add(&sha, data, size);
    usance_sha_end(&sha, digest);
}

static void sha1_plainly(uint32_t *state, const unsigned char *block) {
    uint32_t w[80], v[5];
    for (int t = 0; t < 16; t++) w[t] = big_endian(block + 4 * t);
    for (int t = 16; t < 80; t++) w[t] = left(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
    memcpy(v, state, sizeof(v));
    for (int t = 0; t < 80; t++) {
        uint32_t b = v[1], c = v[2], d = v[3], f, k;
        if (t < 20) f = (b & c) | (~b & d), k = 0x5a827999;
        else if (t < 40) f = b ^ c ^ d, k = 0x6ed9eba1;
        else if (t < 60) f = (b & c) | (b & d) | (c & d), k = 0x8f1bbcdc;
        else f = b ^ c ^ d, k = 0xca62c1d6;
        uint32_t next = left(v[0], 5) + f + v[4] + k + w[t];
        v[4] = d;
        v[3] = c;
        v[2] = left(b, 30);
        v[1] = v[0];
        v[0] = next;
    }
    for (int i = 0; i < 5; i++) state[i] += v[i];
}

#ifdef HAS_X86
/* Four rounds each; the last argument of the instruction, which names the function, must be a constant. */
#define FOUR_ROUNDS(i, function)                                                                        \
    do {                                                                                                \
        __m128i before = abcd;                                                                          \
        abcd = _mm_sha1rnds4_epu32(abcd, i ? _mm_sha1nexte_epu32(e, w[i & 3]) : _mm_add_epi32(e, w[0]), function); \
        e = before;                                                                                     \
        if (i < 16) {   /* words 16 on: of those 16, 14, 8 and 3 before them */                         \
            w[i & 3] = _mm_sha1msg1_epu32(w[i & 3], w[(i + 1) & 3]);                                    \
            w[i & 3] = _mm_sha1msg2_epu32(_mm_xor_si128(w[i & 3], w[(i + 2) & 3]), w[(i + 3) & 3]);     \
        }                                                                                               \
    } while (0)

__attribute__((target("sha,sse4.1,ssse3")))
static void sha1_by_instruction(uint32_t *state, const unsigned char *block) {
    const __m128i swap = _mm_set_epi64x(0x0001020304050607LL, 0x08090a0b0c0d0e0fLL);
    __m128i abcd = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)state), 0x1b), first = abcd;
    __m128i e = _mm_set_epi32((int)state[4], 0, 0, 0), last = e, w[4];
    for (int i = 0; i < 4; i++) w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(block + 16 * i)), swap);
#pragma GCC unroll 5
    for (int i = 0; i < 5; i++) FOUR_ROUNDS(i, 0);
#pragma GCC unroll 5
    for (int i = 5; i < 10; i++) FOUR_ROUNDS(i, 1);
#pragma GCC unroll 5
    for (int i = 10; i < 15; i++) FOUR_ROUNDS(i, 2);
#pragma GCC unroll 5
    for (int i = 15; i < 20; i++) FOUR_ROUNDS(i, 3);
    e = _mm_sha1nexte_epu32(e, last);
    abcd = _mm_add_epi32(abcd, first);
    _mm_storeu_si128((__m128i *)state, _mm_shuffle_epi32(abcd, 0x1b));
    state[4] = (uint32_t)_mm_extract_epi32(e, 3);
}
#endif

/* SHA-1 of a short message, for UUIDs of version 5 alone; false when it does not fit one block. */
bool usance_sha1_short(const unsigned char *data, size_t size, bool plainly, unsigned char *digest) {
    uint32_t state[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    unsigned char block[64] = {0};
    if (size > 55) return false;
    memcpy(block, data, size);
    block[size] = 0x80;
    put_u32(block + 60, (uint32_t)size << 3);
#ifdef HAS_X86
    if (usance_hashes_fast && !plainly) sha1_by_instruction(state, block);
    else
#endif
        sha1_plainly(state, block);
    for (int i = 0; i < 5; i++) put_u32(digest + 4 * i, state[i]);
    return true;
}

/* sha1(data, plainly) -> digest of up to 55 bytes, or None; for the tests */
PyObject *usance_sha1(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    unsigned char digest[20];
    if (count != 2 || !PyBytes_CheckExact(args[0])) return PyErr_Format(PyExc_TypeError, "sha1 takes bytes and a bool");
    if (!usance_sha1_short((const unsigned char *)PyBytes_AS_STRING(args[0]), (size_t)PyBytes_GET_SIZE(args[0]),
                           args[1] == Py_True, digest))
        Py_RETURN_NONE;
    return PyBytes_FromStringAndSize((const char *)digest, sizeof(digest));
}

/* sha256(data, plainly, cuts) -> digest, for the tests: fed in parts that end at the cuts */
PyObject *usance_sha256(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    if (count != 3 || !PyBytes_CheckExact(args[0]) || !PyList_CheckExact(args[2]))
        return PyErr_Format(PyExc_TypeError, "sha256 takes bytes, a bool and a list");
    Compress *by = args[1] == Py_True ? compress_plainly : compress;
    const char *data = PyBytes_AS_STRING(args[0]);
    Py_ssize_t size = PyBytes_GET_SIZE(args[0]), from = 0;
    unsigned char digest[32];
    Sha sha;
    usance_sha_start(&sha);
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(args[2]); i++) {
        Py_ssize_t to = PyLong_AsSsize_t(PyList_GET_ITEM(args[2], i));
        if (to < from || to > size) return PyErr_Format(PyExc_ValueError, "cuts ascend, and lie in the data");
        add_by(by, &sha, data + from, (size_t)(to - from));
        from = to;
    }
    add_by(by, &sha, data + from, (size_t)(size - from));
    end_by(by, &sha, digest);
    return PyBytes_FromStringAndSize((const char *)digest, 32);
}

/* digest(data) -> SHA-256; see kernel/digests.py */
PyObject *usance_digest(PyObject *module, PyObject *data) {
    if (!PyBytes_CheckExact(data)) return PyErr_Format(PyExc_TypeError, "digest takes a bytes object");
    unsigned char digest[32];
    usance_sha(PyBytes_AS_STRING(data), (size_t)PyBytes_GET_SIZE(data), digest);
    return PyBytes_FromStringAndSize((const char *)digest, sizeof(digest));
}

/* HMAC-SHA256 (RFC 2104). */
static void hmac_of(const unsigned char *key, size_t key_size, const void *data, size_t size, unsigned char *digest) {
    unsigned char block[64] = {0};
    Sha sha;
    if (key_size > 64) usance_sha(key, key_size, block);
    else memcpy(block, key, key_size);
    for (int i = 0; i < 64; i++) block[i] ^= 0x36;
    usance_sha_start(&sha);
    usance_sha_add(&sha, block, 64);
    usance_sha_add(&sha, data, size);
    usance_sha_end(&sha, digest);
    for (int i = 0; i < 64; i++) block[i] ^= 0x36 ^ 0x5c;
    usance_sha_start(&sha);
    usance_sha_add(&sha, block, 64);
    usance_sha_add(&sha, digest, 32);
    usance_sha_end(&sha, digest);
}

/* hex_digest(key, data) -> HMAC-SHA256 in hex, SHA-256 where the key is empty; see kernel/digests.py */
PyObject *usance_hex_digest(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    static const char HEX[] = "0123456789abcdef";
    if (count != 2 || !PyBytes_CheckExact(args[0]) || !PyBytes_CheckExact(args[1]))
        return PyErr_Format(PyExc_TypeError, "hex_digest takes two bytes objects");
    const unsigned char *key = (const unsigned char *)PyBytes_AS_STRING(args[0]);
    size_t key_size = (size_t)PyBytes_GET_SIZE(args[0]), size = (size_t)PyBytes_GET_SIZE(args[1]);
    unsigned char digest[32];
    if (key_size) hmac_of(key, key_size, PyBytes_AS_STRING(args[1]), size, digest);
    else usance_sha(PyBytes_AS_STRING(args[1]), size, digest);
    PyObject *text = PyUnicode_New(64, 127);
    if (text == NULL) return NULL;
    Py_UCS1 *at = PyUnicode_1BYTE_DATA(text);
    for (int i = 0; i < 32; i++) {
        *at++ = (Py_UCS1)HEX[digest[i] >> 4];
        *at++ = (Py_UCS1)HEX[digest[i] & 15];
    }
    return text;
}
