// See Interpreter.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

enum halide_type_code_t { halide_type_int = 0, halide_type_uint = 1, halide_type_float = 2 };

struct halide_type_t {
  halide_type_code_t code;
  uint8_t bits;
  uint16_t lanes;
};

struct halide_buffer_t {
  uint64_t device;
  const void *device_interface;
  uint8_t *host;
  uint64_t flags;
  halide_type_t type;
  int32_t dimensions;
  void *dim, *padding;
};

namespace MNN {

class Tensor {
 public:
  enum DimensionType { TENSORFLOW, CAFFE, CAFFE_C4 };
  explicit Tensor(const Tensor *like, DimensionType type = CAFFE, bool allocate = true);
  static Tensor *create(const std::vector<int> &shape, halide_type_t type, void *data = nullptr,
                        DimensionType dimType = TENSORFLOW);
  ~Tensor();
  bool copyFromHostTensor(const Tensor *host);
  bool copyToHostTensor(Tensor *host) const;
  DimensionType getDimensionType() const;
  std::vector<int> shape() const;
  int size() const;
  int elementSize() const { return size() / ((buffer_.type.bits + 7) / 8); }
  halide_type_t getType() const { return buffer_.type; }
  template <typename T>
  T *host() const {
    return reinterpret_cast<T *>(buffer_.host);
  }

 private:
  halide_buffer_t buffer_;
  struct InsideDescribe *describe_;
};

}  // namespace MNN
