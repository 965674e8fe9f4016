// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// One function per parser of outside data: it must return for any input, without a crash, a leak or a hang.
#ifndef V4_TEST_FUZZ_TARGETS_H
#define V4_TEST_FUZZ_TARGETS_H

#include <cstddef>
#include <cstdint>

namespace v4::fuzz {

void module(const uint8_t *data, size_t size);      // the input is the payload; the header is made to fit
void safetensors(const uint8_t *data, size_t size); // a whole file
void json(const uint8_t *data, size_t size);
void index(const uint8_t *data, size_t size); // model.safetensors.index.json
void npy(const uint8_t *data, size_t size);

} // namespace v4::fuzz

#endif // V4_TEST_FUZZ_TARGETS_H
