// Functions of a device: mathematics by overload, bits of numbers, atomics on integers.
// No header of the system is read: that takes longer than to compile a kernel.
#pragma once

namespace simt {

typedef __SIZE_TYPE__ size_t;

// -- mathematics: one for floats, one for doubles, and the older name with an f -------------------

#define SIMT_FUNCTION(name)                                                      \
  static inline float name(float x) { return __builtin_##name##f(x); }           \
  static inline double name(double x) { return __builtin_##name(x); }            \
  static inline float name##f(float x) { return __builtin_##name##f(x); }
#define SIMT_FUNCTION_OF_TWO(name)                                                       \
  static inline float name(float x, float y) { return __builtin_##name##f(x, y); }       \
  static inline double name(double x, double y) { return __builtin_##name(x, y); }       \
  static inline float name##f(float x, float y) { return __builtin_##name##f(x, y); }
#define SIMT_QUESTION(name)                                        \
  static inline bool name(float x) { return __builtin_##name(x); } \
  static inline bool name(double x) { return __builtin_##name(x); }

SIMT_FUNCTION(exp) SIMT_FUNCTION(exp2) SIMT_FUNCTION(expm1)
SIMT_FUNCTION(log) SIMT_FUNCTION(log2) SIMT_FUNCTION(log1p)
SIMT_FUNCTION(sin) SIMT_FUNCTION(cos) SIMT_FUNCTION(tanh) SIMT_FUNCTION(erf) SIMT_FUNCTION(erfc)
SIMT_FUNCTION(sqrt) SIMT_FUNCTION(fabs) SIMT_FUNCTION(floor) SIMT_FUNCTION(ceil)
SIMT_FUNCTION(rint) SIMT_FUNCTION(trunc)
SIMT_FUNCTION_OF_TWO(fmax) SIMT_FUNCTION_OF_TWO(fmin) SIMT_FUNCTION_OF_TWO(pow)
SIMT_FUNCTION_OF_TWO(fmod) SIMT_FUNCTION_OF_TWO(copysign)
SIMT_QUESTION(isfinite) SIMT_QUESTION(isnan) SIMT_QUESTION(isinf)

static inline float fma(float x, float y, float z) { return __builtin_fmaf(x, y, z); }
static inline double fma(double x, double y, double z) { return __builtin_fma(x, y, z); }
static inline double rsqrt(double x) { return 1.0 / __builtin_sqrt(x); }
static inline float rsqrt(float x) { return (float)rsqrt((double)x); }

static inline double cospi(double x) {  // the quarter turn nearest to x, and what is left
  x = __builtin_fmod(__builtin_fabs(x), 2.0);
  double quarter = __builtin_floor(2.0 * x + 0.5);
  double rest = (x - quarter / 2.0) * 3.14159265358979323846;
  if (!__builtin_isfinite(x)) return x - x;
  switch ((int)quarter & 3) {
    case 0: return __builtin_cos(rest);
    case 1: return -__builtin_sin(rest);
    case 2: return -__builtin_cos(rest);
    default: return __builtin_sin(rest);
  }
}
static inline double sinpi(double x) {
  if (!__builtin_isfinite(x)) return x - x;
  x = __builtin_fmod(x, 2.0);
  return x < 0.0 ? -cospi(-x - 0.5) : x == 0.0 ? x : cospi(x - 0.5);
}
static inline float cospi(float x) { return (float)cospi((double)x); }
static inline float sinpi(float x) { return (float)sinpi((double)x); }
static inline float cospif(float x) { return cospi(x); }
static inline float sinpif(float x) { return sinpi(x); }
static inline float __fdividef(float x, float y) { return x / y; }

#define SIMT_LEAST(T)                                          \
  static inline T min(T a, T b) { return b < a ? b : a; }      \
  static inline T max(T a, T b) { return a < b ? b : a; }
SIMT_LEAST(int) SIMT_LEAST(unsigned) SIMT_LEAST(long) SIMT_LEAST(unsigned long)
SIMT_LEAST(long long) SIMT_LEAST(unsigned long long)
static inline float min(float a, float b) { return fmin(a, b); }
static inline float max(float a, float b) { return fmax(a, b); }
static inline double min(double a, double b) { return fmin(a, b); }
static inline double max(double a, double b) { return fmax(a, b); }
static inline int abs(int x) { return x < 0 ? -x : x; }
static inline float abs(float x) { return fabs(x); }
static inline double abs(double x) { return fabs(x); }

// -- bits -----------------------------------------------------------------------------------------

#define SIMT_BITS(name, To, From) \
  static inline To name(From x) { return __builtin_bit_cast(To, x); }
SIMT_BITS(__int_as_float, float, int)
SIMT_BITS(__float_as_int, int, float)
SIMT_BITS(__uint_as_float, float, unsigned)
SIMT_BITS(__float_as_uint, unsigned, float)
SIMT_BITS(__longlong_as_double, double, long long)
SIMT_BITS(__double_as_longlong, long long, double)
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline unsigned __umulhi(unsigned x, unsigned y) {
  return (unsigned long long)x * y >> 32;
}

// -- memory ---------------------------------------------------------------------------------------

template <class T>
static inline T __ldg(const T* at) { return *at; }

static inline void __threadfence() { asm volatile("" ::: "memory"); }
static inline void __threadfence_block() { asm volatile("" ::: "memory"); }

#define SIMT_ATOMIC(name, T, value) \
  static inline T name(T* at, T x) { T old = *at; *at = value; return old; }
#define SIMT_ATOMICS(T)                                     \
  SIMT_ATOMIC(atomicAdd, T, T((unsigned)old + (unsigned)x)) \
  SIMT_ATOMIC(atomicMax, T, max(old, x))                    \
  SIMT_ATOMIC(atomicMin, T, min(old, x))                    \
  SIMT_ATOMIC(atomicExch, T, x)
SIMT_ATOMICS(int)
SIMT_ATOMICS(unsigned)
static inline unsigned atomicInc(unsigned* at, unsigned last) {
  unsigned old = *at;
  *at = old >= last ? 0 : old + 1;
  return old;
}
// A sum by atomics has another order every time, and so another result.
float atomicAdd(float*, float) = delete;
double atomicAdd(double*, double) = delete;

}  // namespace simt
