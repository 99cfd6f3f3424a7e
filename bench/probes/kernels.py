"""The CUDA texts that the parts run, and what makes kernels of them."""

from __future__ import annotations

from typing import Any

# Each constant is of the type T: a bare one would make a float32 kernel compute in double.
GELU_PULLBACK = """
const T scale = T(0.7978845608028654), cubic = T(0.044715);
const T t = tanh(scale * (z + cubic * z * z * z));
const T slope = scale * (T(1) + T(3) * cubic * z * z);
dz = delta * T(0.5) * (T(1) + t + z * (T(1) - t * t) * slope);
"""

ADAM = """
m = T(0.9) * m + T(0.1) * g;
v = T(0.999) * v + T(0.001) * g * g;
p -= rate * (m * fix_m) / (sqrt(v * fix_v) + T(1e-8));
"""

# gpubp/bits.py, line for line.
BITS = r"""
__device__ __forceinline__ unsigned int mix(unsigned int h) {
    h = (h ^ (h >> 16)) * 0x85EBCA6Bu;
    h = (h ^ (h >> 13)) * 0xC2B2AE35u;
    return h ^ (h >> 16);
}

__device__ __forceinline__ unsigned int word(unsigned int key, unsigned int stream,
                                             unsigned int step) {
    return mix(mix(mix(key + 0x9E3779B1u) ^ stream) + step);
}

__device__ __forceinline__ unsigned int bits(unsigned int index, unsigned int first,
                                             unsigned int second) {
    return mix(mix(index * 0x9E3779B1u + first) ^ second);
}
"""

DRAW = (
    BITS
    + r"""
extern "C" __global__ void draw(unsigned int* y, long long size, const unsigned int* key) {
    const unsigned int first = word(key[0], key[1], key[2]);
    const unsigned int second = mix(first ^ 0x9E3779B1u);
    const long long stride = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < size; i += stride)
        y[i] = bits((unsigned int)i, first, second);
}
"""
)

AXPY = r"""
extern "C" __global__ void axpy(float* y, const float* x, float a, int size) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < size) y[i] += a * x[i];
}
"""


def gelu_pullback(cp: Any) -> Any:
    """Return dz of (delta, z)."""
    return cp.ElementwiseKernel("T delta, T z", "T dz", GELU_PULLBACK, "gelu_pullback")


def adam(cp: Any) -> Any:
    """Return the update of p, m, v in place, of (g, rate, fix_m, fix_v, p, m, v)."""
    inputs, outputs = "T g, T rate, T fix_m, T fix_v", "T p, T m, T v"
    return cp.ElementwiseKernel(inputs, outputs, ADAM, "adam")


def elementwise_bits(cp: Any) -> Any:
    """Return the bits of one draw in an array, of (two key words, array)."""
    text = "y = bits((unsigned int)i, words[0], words[1]);"
    return cp.ElementwiseKernel("raw uint32 words", "uint32 y", text, "draw_bits", preamble=BITS)


def raw_bits(cp: Any) -> Any:
    """Return the launch of the same draw, of (array, [key, stream, step])."""
    kernel = cp.RawKernel(DRAW, "draw")

    def launch(y: Any, key: Any) -> Any:
        blocks = min((y.size + 255) // 256, 4096)
        kernel((blocks,), (256,), (y, cp.int64(y.size), key))
        return y

    return launch


def axpy(cp: Any) -> Any:
    """Return the launch of y += a x, of (y, x, a), float32."""
    kernel = cp.RawKernel(AXPY, "axpy")

    def launch(y: Any, x: Any, a: float) -> Any:
        kernel(((y.size + 255) // 256,), (256,), (y, x, cp.float32(a), cp.int32(y.size)))
        return y

    return launch
