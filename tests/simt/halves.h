// The 16-bit floating types of cuda_fp16.h and cuda_bf16.h, as far as storage asks for them.
//
// Every conversion rounds once, to nearest, ties to even; what is no number becomes 0x7fff. There
// is no arithmetic on them: a kernel converts to float and back.
#pragma once
#include "warp.h"

namespace simt {

// The bits of x with so many bits of exponent and fraction.
template <int exponent_bits, int fraction_bits>
static unsigned short rounded(double x) {
  constexpr int bias = (1 << (exponent_bits - 1)) - 1, least = 1 - bias;
  constexpr long long infinite = ((1 << exponent_bits) - 1ll) << fraction_bits;
  if (x != x) return 0x7fff;
  unsigned long long bits = __builtin_bit_cast(unsigned long long, x);
  unsigned short sign = bits >> 48 & 0x8000;
  int exponent = int(bits >> 52 & 2047) - 1023;
  if (exponent > bias) return sign | infinite;
  if (exponent < least) exponent = least;  // from here down the steps are of one size
  double per_step = __builtin_bit_cast(double, (1023ll - exponent + fraction_bits) << 52);
  double in_steps = __builtin_fabs(x) * per_step + 0x1p52 - 0x1p52;  // to even, and exact
  long long code = ((long long)(exponent - least) << fraction_bits) + (long long)in_steps;
  return sign | (code < infinite ? code : infinite);
}

#define SIMT_HALF(NAME, exponent_bits, fraction_bits)                                          \
  struct alignas(2) NAME {                                                                     \
    unsigned short bits;                                                                       \
    NAME() = default;                                                                          \
    NAME(float x) : bits(rounded<exponent_bits, fraction_bits>((double)x)) {}                  \
    NAME(double x) : bits(rounded<exponent_bits, fraction_bits>(x)) {}                         \
    NAME(int x) : NAME((double)x) {}                                                           \
    NAME(unsigned x) : NAME((double)x) {}                                                      \
    operator float() const;                                                                    \
  };

SIMT_HALF(__half, 5, 10)
SIMT_HALF(__nv_bfloat16, 8, 7)
typedef __half half;
typedef __nv_bfloat16 nv_bfloat16;

inline __nv_bfloat16::operator float() const {
  return __builtin_bit_cast(float, (unsigned)bits << 16);
}

inline __half::operator float() const {
  unsigned sign = (bits & 0x8000u) << 16, exponent = bits >> 10 & 31, fraction = bits & 1023;
  if (!exponent) return (sign ? -0x1p-24f : 0x1p-24f) * (float)fraction;
  exponent = exponent == 31 ? 255 : exponent + 112;
  return __builtin_bit_cast(float, sign | exponent << 23 | fraction << 13);
}

static inline __half __float2half(float x) { return __half(x); }
static inline __half __float2half_rn(float x) { return __half(x); }
static inline __half __double2half(double x) { return __half(x); }
static inline float __half2float(__half x) { return x; }
static inline unsigned short __half_as_ushort(__half x) { return x.bits; }
static inline __half __ushort_as_half(unsigned short x) { return __builtin_bit_cast(__half, x); }

static inline __nv_bfloat16 __float2bfloat16(float x) { return __nv_bfloat16(x); }
static inline __nv_bfloat16 __float2bfloat16_rn(float x) { return __nv_bfloat16(x); }
static inline __nv_bfloat16 __double2bfloat16(double x) { return __nv_bfloat16(x); }
static inline float __bfloat162float(__nv_bfloat16 x) { return x; }
static inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 x) { return x.bits; }
static inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short x) {
  return __builtin_bit_cast(__nv_bfloat16, x);
}

SIMT_SHUFFLES(__half)
SIMT_SHUFFLES(__nv_bfloat16)

}  // namespace simt
