/* An .mnn file through MNN's session API, one thread: inputs and outputs found by their names, the batch set before scoring,
 * every step checked, because MNN itself only returns null or a code. What goes wrong is thrown. C++11. */
#ifndef MNN_MODEL_H
#define MNN_MODEL_H

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <MNN/Interpreter.hpp>
#include <MNN/Tensor.hpp>

#include "inputs.h"

class mnn_model {
 public:
  /* Open a model that takes these inputs and gives these outputs, `batch` rows at a time or, if that is 0, any number. */
  mnn_model(const char *path, const input_tensor *inputs, uint32_t n, const input_tensor *outputs, uint32_t n_outputs,
            uint32_t batch)
      : inputs_(inputs, inputs + n), outputs_(outputs, outputs + n_outputs), batch_(batch) {
    try {
      open(path);
    } catch (...) {
      close();
      throw;
    }
  }

  ~mnn_model() { close(); }

  mnn_model(const mnn_model &) = delete;
  mnn_model &operator=(const mnn_model &) = delete;

  /* False if MNN does not know its own session any more. */
  bool close() {
    const bool released = !session_ || net_->releaseSession(session_);
    if (net_) MNN::Interpreter::destroy(net_);
    session_ = nullptr;
    net_ = nullptr;
    return released;
  }

  /* Every output row by row, in declared order, good until the next call: of inputs in their order, not necessarily aligned. */
  const void *const *predict(const void *const *values, uint32_t rows) {
    char why[256];
    for (size_t i = 0; i < inputs_.size(); i++)
      if (!input_check(&inputs_[i], values[i], rows, why, sizeof why)) fail(why);
    if (rows != rows_) resize(rows);
    run(values);
    if (!outputs_check(outputs_.data(), (uint32_t)outputs_.size(), results_.data(), rows, why, sizeof why)) fail(why);
    return results_.data();
  }

  /* Copy in, run, copy out: predict has set the number of rows and checked such values. */
  void run(const void *const *values) {
    if (!rows_) fail("nothing has been predicted");
    for (size_t i = 0; i < inputs_.size(); i++) {
      const size_t count = (size_t)rows_ * inputs_[i].size;
      MNN::Tensor &host = *fed_[i];
      if (inputs_[i].dtype != INPUT_INT64)
        memcpy(host.host<char>(), values[i], input_size(&inputs_[i], rows_));
      else
        narrow((const unsigned char *)values[i], count, host.host<int32_t>());
      if (!devices_[i]->copyFromHostTensor(&host)) fail(std::string("copyFromHostTensor: ") + inputs_[i].name + " refused");
    }
    const MNN::ErrorCode code = net_->runSession(session_);
    if (code != MNN::NO_ERROR) fail("runSession: code " + std::to_string((int)code));
    for (size_t i = 0; i < outputs_.size(); i++) {
      if (!given_[i]->copyToHostTensor(copied_[i].get())) fail(std::string("copyToHostTensor: ") + outputs_[i].name + " refused");
      for (size_t j = 0; j < wide_[i].size(); j++) wide_[i][j] = copied_[i]->host<int32_t>()[j];
    }
  }

 private:
  static void fail(const std::string &what) { throw std::runtime_error(what); }

  /* MNN computes on 32-bit integers: int64 is narrowed, which the ranges of the inputs allow. */
  static halide_type_t type_of(const input_tensor &tensor) {
    halide_type_t type = halide_type_t();
    type.code = tensor.dtype == INPUT_FLOAT32 ? halide_type_float
                : tensor.dtype == INPUT_UINT8 ? halide_type_uint
                                              : halide_type_int;
    type.bits = tensor.dtype == INPUT_UINT8 ? 8 : 32;
    type.lanes = 1;
    return type;
  }

  static std::vector<int> shape_of(const input_tensor &tensor, uint32_t rows) {
    std::vector<int> shape(1, (int)rows);
    shape.insert(shape.end(), tensor.axes, tensor.axes + tensor.n_axes);
    return shape;
  }

  static void narrow(const unsigned char *from, size_t count, int32_t *to) {
    for (size_t i = 0; i < count; i++) {
      int64_t value;
      memcpy(&value, from + i * sizeof value, sizeof value);
      to[i] = (int32_t)value;
    }
  }

  void open(const char *path) {
    MNN::ScheduleConfig config;
    config.type = MNN_FORWARD_CPU;
    config.numThread = 1;
    net_ = MNN::Interpreter::createFromFile(path);
    if (!net_) fail(std::string("createFromFile: ") + path + " is missing or no MNN model");
    session_ = net_->createSession(config);
    if (!session_) fail("createSession: null");
    for (const input_tensor &input : inputs_) {
      /* By name and never by a null name, which would be the alphabetically first input. */
      devices_.push_back(net_->getSessionInput(session_, input.name));
      if (!devices_.back()) fail(std::string("getSessionInput: the model has no input ") + input.name);
      require_type(devices_.back(), input);
    }
  }

  static void require_type(const MNN::Tensor *device, const input_tensor &wanted) {
    const halide_type_t type = device->getType(), own = type_of(wanted);
    if (type.code != own.code || type.bits != own.bits)
      fail(std::string(wanted.name) + ": the model has another type of element");
  }

  static void require_shape(const MNN::Tensor *device, const input_tensor &wanted, uint32_t rows) {
    std::string found;
    for (int n : device->shape()) found += (found.empty() ? "" : ", ") + std::to_string(n);
    if (device->shape() != shape_of(wanted, rows))
      fail(std::string(wanted.name) + " has the shape [" + found + "] for " + std::to_string(rows) + " rows");
  }

  /* Memory of TensorFlow's layout, row by row, that MNN translates to the session's own. */
  static std::unique_ptr<MNN::Tensor> host_of(const input_tensor &tensor, uint32_t rows) {
    std::unique_ptr<MNN::Tensor> host(
        MNN::Tensor::create(shape_of(tensor, rows), type_of(tensor), nullptr, MNN::Tensor::TENSORFLOW));
    if (!host || !host->host<char>()) fail(std::string(tensor.name) + ": no memory");
    return host;
  }

  /* A session that is not resized answers the rows of the batch before, or crashes. */
  void resize(uint32_t rows) {
    rows_ = 0;
    if (batch_ && rows != batch_)
      fail("the model takes " + std::to_string(batch_) + " rows at a time, not " + std::to_string(rows));
    for (size_t i = 0; !batch_ && i < inputs_.size(); i++)
      net_->resizeTensor(devices_[i], shape_of(inputs_[i], rows));
    net_->resizeSession(session_);
    fed_.clear(), given_.clear(), copied_.clear(), results_.clear();
    wide_.assign(outputs_.size(), std::vector<int64_t>());
    for (size_t i = 0; i < inputs_.size(); i++) {
      require_shape(devices_[i], inputs_[i], rows);
      fed_.push_back(host_of(inputs_[i], rows));
    }
    for (size_t i = 0; i < outputs_.size(); i++) {
      MNN::Tensor *device = net_->getSessionOutput(session_, outputs_[i].name);
      if (!device) fail(std::string("getSessionOutput: the model has no output ") + outputs_[i].name);
      require_type(device, outputs_[i]);
      require_shape(device, outputs_[i], rows);
      given_.push_back(device);
      copied_.push_back(host_of(outputs_[i], rows));
      if (outputs_[i].dtype == INPUT_INT64) wide_[i].resize((size_t)rows * outputs_[i].size);
      results_.push_back(wide_[i].empty() ? copied_[i]->host<void>() : wide_[i].data());
    }
    rows_ = rows;
  }

  std::vector<input_tensor> inputs_, outputs_;
  uint32_t batch_, rows_ = 0;
  MNN::Interpreter *net_ = nullptr;
  MNN::Session *session_ = nullptr;
  std::vector<MNN::Tensor *> devices_, given_;
  std::vector<std::unique_ptr<MNN::Tensor>> fed_, copied_; /* kept: a host tensor that is gone leaves MNN reading freed memory */
  std::vector<std::vector<int64_t>> wide_;                 /* of outputs that are int64 */
  std::vector<const void *> results_;
};

#endif
