// cuBLAS and cuRAND, as far as they are asked: products summed in f32, rounded once.
#include <vector>

#include "card.h"
#include "cuda_bf16.h"

// As in cublas_api.h and library_types.h.
using Status = int;
enum { SUCCESS = 0, INVALID_VALUE = 7, EXECUTION_FAILED = 13 };
using Type = int;
enum { CUDA_R_32F = 0, CUDA_R_16F = 2, CUDA_R_16BF = 14 };
enum { OP_N = 0, COMPUTE_16F = 64 };

struct Handle {
    void *stream = nullptr;
};

namespace {
float get(const void *from, Type type, size_t i) {
    switch (type) {
        case CUDA_R_32F: return ((const float *)from)[i];
        case CUDA_R_16BF: return ((const __nv_bfloat16 *)from)[i];
        case CUDA_R_16F: return ((const __half *)from)[i];
        default: abort();
    }
}
void put(void *to, Type type, size_t i, float value) {
    switch (type) {
        case CUDA_R_32F: ((float *)to)[i] = value; return;
        case CUDA_R_16BF: ((__nv_bfloat16 *)to)[i] = value; return;
        case CUDA_R_16F: ((__half *)to)[i] = value; return;
        default: abort();
    }
}
size_t bytes_of(Type type) { return type == CUDA_R_32F ? 4 : 2; }

/// One of a batch of matrices, by columns.
struct Matrix {
    char *start;
    Type type;
    int lead;
    long long stride;
    bool transposed = false;

    char *item(int i) const { return start + i * stride * (long long)bytes_of(type); }
};

/// (lines, depth): each of the lines, rows or else columns of the product, in one piece.
std::vector<float> packed(const Matrix &a, int item, int lines, int depth, bool lines_are_rows) {
    std::vector<float> out((size_t)lines * depth);
    bool depth_is_dense = a.transposed == lines_are_rows;
    for (size_t i = 0; i < (size_t)lines; i++)
        for (size_t d = 0; d < (size_t)depth; d++)
            out[i * depth + d] = get(a.item(item), a.type, depth_is_dense ? i * a.lead + d : d * a.lead + i);
    return out;
}

float dot(const float *a, const float *b, int n) {
    constexpr int LANES = 16;
    float sums[LANES] = {};
    int i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int lane = 0; lane < LANES; lane++) sums[lane] += a[i + lane] * b[i + lane];
    float sum = 0;
    for (; i < n; i++) sum += a[i] * b[i];
    for (float part : sums) sum += part;
    return sum;
}

/// c = alpha a b + beta c for each of `batch` items: c (m, n), over a depth of k.
struct Product {
    int m, n, k, batch;
    float alpha, beta;
    Matrix a, b, c;

    bool is_valid() const {
        bool positive = m > 0 && n > 0 && k > 0 && batch > 0;
        return positive && a.lead >= (a.transposed ? k : m) && b.lead >= (b.transposed ? n : k) && c.lead >= m;
    }

    double bytes() const {
        double rows = (double)bytes_of(a.type) * m * k, columns = (double)bytes_of(b.type) * n * k;
        return batch * (rows + columns + (double)bytes_of(c.type) * m * n);
    }

    void compute() const {
        for (int item = 0; item < batch; item++) {
            auto rows = packed(a, item, m, k, true), columns = packed(b, item, n, k, false);
            char *to = c.item(item);
#pragma omp parallel for
            for (int column = 0; column < n; column++)
                for (int row = 0; row < m; row++) {
                    size_t at = (size_t)column * c.lead + row;
                    float sum = alpha * dot(&rows[(size_t)row * k], &columns[(size_t)column * k], k);
                    put(to, c.type, at, beta == 0 ? sum : sum + beta * get(to, c.type, at));
                }
        }
    }
};

Status run(Handle *handle, const Product &product, int compute) {
    if (sick()) return EXECUTION_FAILED;
    if (!product.is_valid() || compute == COMPUTE_16F) return INVALID_VALUE;
    count("products", 1);
    count("product_flop", 2.0 * product.m * product.n * product.k * product.batch);
    count("product_bytes", product.bytes());
    enqueue(handle->stream, [product] { product.compute(); });
    return SUCCESS;
}

float scalar(const void *of) { return *(const float *)of; }
}  // namespace

extern "C" {
Status cublasCreate_v2(Handle **handle) {
    *handle = new Handle;
    return SUCCESS;
}
Status cublasDestroy_v2(Handle *handle) {
    delete handle;
    return SUCCESS;
}
Status cublasSetStream_v2(Handle *handle, void *stream) {
    handle->stream = stream;
    return SUCCESS;
}
Status cublasGemmStridedBatchedEx(Handle *handle, int ta, int tb, int m, int n, int k, const void *alpha, char *a, Type at,
                                  int lda, long long sa, char *b, Type bt, int ldb, long long sb, const void *beta, char *c,
                                  Type ct, int ldc, long long sc, int batch, int compute, int) {
    Matrix left{a, at, lda, sa, ta != OP_N}, right{b, bt, ldb, sb, tb != OP_N}, out{c, ct, ldc, sc};
    return run(handle, {m, n, k, batch, scalar(alpha), scalar(beta), left, right, out}, compute);
}
Status cublasGemmEx(Handle *handle, int ta, int tb, int m, int n, int k, const void *alpha, char *a, Type at, int lda, char *b,
                    Type bt, int ldb, const void *beta, char *c, Type ct, int ldc, int compute, int algorithm) {
    return cublasGemmStridedBatchedEx(handle, ta, tb, m, n, k, alpha, a, at, lda, 0, b, bt, ldb, 0, beta, c, ct, ldc, 0, 1,
                                      compute, algorithm);
}

// candle makes a generator with each device; the program draws its noise itself.
Status curandCreateGenerator(void **generator, int) {
    *generator = nullptr;
    return SUCCESS;
}
Status curandDestroyGenerator(void *) { return SUCCESS; }
Status curandSetStream(void *, void *) { return SUCCESS; }
Status curandSetPseudoRandomGeneratorSeed(void *, unsigned long long) { return SUCCESS; }

// Linked by candle. The program asks for random numbers only to measure a card's speed, which this one has not.
Status cublasDgemmStridedBatched() { return INVALID_VALUE; }
Status curandGenerateNormal() { return INVALID_VALUE; }
Status curandGenerateNormalDouble() { return INVALID_VALUE; }
}
