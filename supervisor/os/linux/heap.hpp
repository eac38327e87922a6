// The C library's heap in a process that lives long and has peaks: what a peak took goes back to the kernel.
//
// glibc raises its thresholds with each large block that is freed (mallopt(3)), so that later peaks come out
// of the heap itself, where one small block above them holds all of it. Invariant: a heap of another library
// is left alone. Non-goal: how much is taken.
#pragma once

#include <cstddef>

namespace runmain::os {

// Blocks from here on are mappings of their own, which go back when they are freed.
inline constexpr std::size_t kOwnMappingFrom = 128U << 10U;
// What may lie free at the heap's end.
inline constexpr std::size_t kHeapSlack = 1U << 20U;

// For a process with one thread that allocates: one arena, and thresholds that stay. Once, at its start.
void keep_heap_small();

// Gives back whole pages that are free in the middle of the heap, too. Takes some milliseconds.
void give_heap_back();

}  // namespace runmain::os
