// What a text for NVRTC finds when g++ compiles it: CUDA's words, and how its kernels are called.
//
// Not modelled: flushing of denormals, contraction to fused operations, caches and the order of
// memory beyond barriers, PTX in asm, tensor cores. Blocks run one by one, so a kernel whose blocks
// wait for each other hangs.
#pragma once
#include "device.h"
#include "halves.h"
#include "warp.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __constant__ static
#define __align__(n) alignas(n)
// Every variable of the section is poisoned before a block; `used` keeps the compiler from knowing
// who writes it.
#define __shared__ static __attribute__((used, section(SIMT_SECTION)))

namespace simt {

// `extern __shared__ T name[];` becomes `T* const name = dynamic;`.
static constexpr struct {
  template <class T>
  operator T*() const { return (T*)dynamic_memory; }
} dynamic;

// -- the parameters of a kernel: 'p' is a pointer, 's' a struct, the others as in NumPy -----------

template <class T> constexpr char kind_of = 's';
template <class T> constexpr char kind_of<T*> = 'p';
template <> inline constexpr char kind_of<bool> = 'b';
template <> inline constexpr char kind_of<float> = 'f';
template <> inline constexpr char kind_of<double> = 'f';
template <> inline constexpr char kind_of<__half> = 'f';
template <> inline constexpr char kind_of<int> = 'i';
template <> inline constexpr char kind_of<long> = 'i';
template <> inline constexpr char kind_of<long long> = 'i';
template <> inline constexpr char kind_of<unsigned> = 'u';
template <> inline constexpr char kind_of<unsigned long> = 'u';
template <> inline constexpr char kind_of<unsigned long long> = 'u';

struct Parameter { int kind, size; };

template <int...> struct Numbers {};
template <int n, int... rest> struct Count : Count<n - 1, n - 1, rest...> {};
template <int... all> struct Count<0, all...> { typedef Numbers<all...> numbers; };

template <class... P>
struct Kernel {
  static constexpr Parameter parameters[] = {{kind_of<P>, sizeof(P)}..., {0, 0}};
  template <void (*kernel)(P...)>
  static void run(void** a) { call<kernel>(a, typename Count<sizeof...(P)>::numbers()); }
  template <void (*kernel)(P...), int... i>
  static void call(void** a, Numbers<i...>) { kernel(*(P*)a[i]...); }
};
template <class... P>
Kernel<P...> kernel_of(void (*)(P...));

}  // namespace simt

#define SIMT_EXPORT extern "C" __attribute__((visibility("default")))
#define SIMT_ENTRY(symbol, kernel, start, stop)                                           \
  SIMT_EXPORT const simt::Parameter* symbol##_parameters() {                              \
    return decltype(simt::kernel_of(&kernel))::parameters;                                \
  }                                                                                       \
  SIMT_EXPORT void symbol##_launch(simt::Launch* launch) {                                \
    simt::launch(*launch, decltype(simt::kernel_of(&kernel))::run<&kernel>, start, stop); \
  }

// -- what g++'s sanitizer finds while a kernel runs -----------------------------------------------

namespace simt {
struct Place { const char* file; unsigned line, column; };
struct Access { Place place; const void* type; unsigned char log_alignment, kind; };
}  // namespace simt

#define SIMT_HANDLER(name, ...) \
  extern "C" __attribute__((visibility("hidden"))) void __ubsan_handle_##name##_abort(__VA_ARGS__)

SIMT_HANDLER(type_mismatch_v1, simt::Access* data, unsigned long at) {
  if (!at) simt::fail("line %u goes through a null pointer", data->place.line);
  simt::fail("line %u: address 0x%lx is misaligned, it must be a multiple of %d",
             data->place.line, at, 1 << data->log_alignment);
}
SIMT_HANDLER(out_of_bounds, simt::Place* data, unsigned long index) {
  simt::fail("line %u: index %ld is out of bounds of its array", data->line, (long)index);
}
SIMT_HANDLER(shift_out_of_bounds, simt::Place* data, unsigned long, unsigned long) {
  simt::fail("line %u shifts by less than none or by all bits or more", data->line);
}
SIMT_HANDLER(divrem_overflow, simt::Place* data, unsigned long, unsigned long) {
  simt::fail("line %u divides an integer by zero, or overflows", data->line);
}
