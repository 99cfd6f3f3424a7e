// Barriers of a block, and what the lanes of a warp do together.
//
// A call is known by its line in the text. All that wait for each other must be in the same one,
// with the same mask, and a thread that has ended or does not exist must not be waited for: a GPU
// would go on with whatever it has, or hang.
#pragma once
#include "scheduler.h"

#define SIMT_LINE int line = __builtin_LINE()
#define SIMT_MEMORY asm volatile("" ::: "memory")

namespace simt {

static int last_at_barrier;

// -- blocks ---------------------------------------------------------------------------------------

static __attribute__((noinline)) int barrier(const char* call, int line, int predicate) {
  Thread& me = threads[current];
  if (n_ended) fail("is at %s in line %d, and %d threads have ended", call, line, n_ended);
  if (n_at_barrier++) {  // those that wait already have been held against each other
    const Thread& it = threads[last_at_barrier];
    if (it.call != call || it.line != line)
      fail("is at %s in line %d, and thread %d is at %s in line %d", call, line, last_at_barrier,
           it.call, it.line);
  }
  last_at_barrier = current;
  me.call = call, me.line = line, me.mask = 0, me.given = predicate != 0;
  if (n_at_barrier == n_threads) {
    int count = 0;
    for (int t = 0; t < n_threads; ++t) count += threads[t].given;
    for (int t = 0; t < n_threads; ++t) {
      threads[t].received = count, threads[t].call = nullptr;
      ready[t >> 5] |= 1u << (t & 31), runnable |= 1u << (t >> 5);
    }
    n_at_barrier = 0;
  }
  park();
  return threads[current].received;
}

// -- warps ----------------------------------------------------------------------------------------

enum Rule { sync, shuffle, vote };

static void exchange(Thread* warp, int w, unsigned mask, Rule rule) {
  unsigned ballot = 0;
  if (rule == vote)
    for (unsigned left = mask; left; left &= left - 1)
      ballot |= unsigned(warp[__builtin_ctz(left)].given) << __builtin_ctz(left);
  for (unsigned left = mask; left; left &= left - 1) {
    Thread& it = warp[__builtin_ctz(left)];
    it.received = rule == shuffle ? warp[it.source].given : ballot;
    it.call = nullptr;
  }
  waiting[w] &= ~mask, ready[w] |= mask, runnable |= 1u << w;
}

static __attribute__((noinline)) unsigned long long together(
    const char* call, int line, Rule rule, unsigned mask, unsigned width,
    unsigned long long given, int source) {
  Thread& me = threads[current];
  int w = current >> 5, lane = current & 31;
  me.call = call, me.line = line, me.mask = mask, me.width = width;
  me.given = given, me.source = source;
  if (!(mask >> lane & 1)) fail("%s in line %d: lane %d is not in its mask 0x%08x", call, line,
                                lane, mask);
  if (mask & ~exist[w]) fail("%s in line %d: mask 0x%08x names lanes that the warp has not "
                             "(it has 0x%08x)", call, line, mask, exist[w]);
  if (mask & ended[w]) fail("%s in line %d: mask 0x%08x names lanes that have ended (0x%08x)",
                            call, line, mask, ended[w]);
  if (!(mask >> source & 1)) fail("%s in line %d reads lane %d, which is not in its mask 0x%08x",
                                  call, line, source, mask);
  me.lead = lane, me.arrived = 0;
  for (unsigned left = mask & waiting[w]; left; left &= left - 1) {
    int other = __builtin_ctz(left);
    const Thread& it = threads[32 * w + other];
    if (!(it.mask >> lane & 1)) continue;  // it waits for others
    if (it.call != call || it.line != line || it.mask != mask || it.width != width)
      fail("is at %s in line %d (mask 0x%08x), and lane %d of its warp is at %s in line %d "
           "(mask 0x%08x)", call, line, mask, other, it.call, it.line, it.mask);
    me.lead = it.lead;  // those that wait already have been held against each other
    break;
  }
  unsigned& arrived = threads[32 * w + me.lead].arrived;
  arrived |= 1u << lane, waiting[w] |= 1u << lane;
  if (arrived == mask) exchange(&threads[32 * w], w, mask, rule);
  park();
  return threads[current].received;
}

template <class T>
static T moved(const char* call, int line, unsigned mask, T value, int source, int width) {
  unsigned long long bits = 0;
  __builtin_memcpy(&bits, &value, sizeof(T));
  if (width < 1 || width > 32 || width & (width - 1))
    fail("%s in line %d: a width is 1, 2, 4, 8, 16 or 32, not %d", call, line, width);
  bits = together(call, line, shuffle, mask, width, bits, source);
  __builtin_memcpy(&value, &bits, sizeof(T));
  return value;
}

#define SIMT_SHUFFLES(T)                                                                         \
  static inline T __shfl_sync(unsigned mask, T value, int from, int width = 32, SIMT_LINE) {     \
    int lane = current & 31, low = lane & -width;                                                \
    return moved("__shfl_sync", line, mask, value, (low | (from & (width - 1))) & 31, width);    \
  }                                                                                              \
  static inline T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32,            \
                                 SIMT_LINE) {                                                    \
    int lane = current & 31, low = lane & -width, from = lane - int(by & 31);                    \
    return moved("__shfl_up_sync", line, mask, value, from < low ? lane : from, width);          \
  }                                                                                              \
  static inline T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32,          \
                                   SIMT_LINE) {                                                  \
    int lane = current & 31, high = lane | (width - 1), from = lane + int(by & 31);              \
    return moved("__shfl_down_sync", line, mask, value, from > high ? lane : from, width);       \
  }                                                                                              \
  static inline T __shfl_xor_sync(unsigned mask, T value, int by, int width = 32, SIMT_LINE) {   \
    int lane = current & 31, high = lane | (width - 1), from = lane ^ (by & 31);                 \
    return moved("__shfl_xor_sync", line, mask, value, from > high ? lane : from, width);        \
  }

SIMT_SHUFFLES(int)
SIMT_SHUFFLES(unsigned)
SIMT_SHUFFLES(long)
SIMT_SHUFFLES(unsigned long)
SIMT_SHUFFLES(long long)
SIMT_SHUFFLES(unsigned long long)
SIMT_SHUFFLES(float)
SIMT_SHUFFLES(double)

static inline unsigned vote_of(const char* call, int line, unsigned mask, int predicate) {
  return together(call, line, vote, mask, 32, predicate != 0, current & 31);
}

static inline unsigned __ballot_sync(unsigned mask, int predicate, SIMT_LINE) {
  return vote_of("__ballot_sync", line, mask, predicate);
}
static inline int __any_sync(unsigned mask, int predicate, SIMT_LINE) {
  return vote_of("__any_sync", line, mask, predicate) != 0;
}
static inline int __all_sync(unsigned mask, int predicate, SIMT_LINE) {
  return vote_of("__all_sync", line, mask, predicate) == mask;
}

// -- what orders memory: the compiler must not keep anything in registers over these --------------

static inline __attribute__((always_inline)) void __syncwarp(unsigned mask = ~0u, SIMT_LINE) {
  SIMT_MEMORY;
  together("__syncwarp", line, sync, mask, 32, 0, current & 31);
  SIMT_MEMORY;
}
static inline __attribute__((always_inline)) void __syncthreads(SIMT_LINE) {
  SIMT_MEMORY;
  barrier("__syncthreads", line, 0);
  SIMT_MEMORY;
}
static inline __attribute__((always_inline)) int __syncthreads_count(int predicate, SIMT_LINE) {
  SIMT_MEMORY;
  int count = barrier("__syncthreads_count", line, predicate);
  SIMT_MEMORY;
  return count;
}
static inline __attribute__((always_inline)) int __syncthreads_or(int predicate, SIMT_LINE) {
  SIMT_MEMORY;
  int count = barrier("__syncthreads_or", line, predicate);
  SIMT_MEMORY;
  return count != 0;
}
static inline __attribute__((always_inline)) int __syncthreads_and(int predicate, SIMT_LINE) {
  SIMT_MEMORY;
  int count = barrier("__syncthreads_and", line, predicate);
  SIMT_MEMORY;
  return count == n_threads;
}

}  // namespace simt
