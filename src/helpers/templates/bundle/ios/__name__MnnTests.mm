// Tests of model.mnn ({{ model | comment }}) through MNN's session API, as an app uses it:
// one random case, five random cases, and all golden cases of the bundle.
//
// Plain Foundation, so that the same code runs under XCTest ({{ name }}MnnXCTests.mm) and
// on a command line (mnn_tests_main.mm). It retains nothing, so it compiles with and without ARC. golden.h and the headers
// beside it lie in the bundle's folder c, which must be in the header search paths.
#import "{{ name }}MnnTests.h"

#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#import <MNN/Interpreter.hpp>
#import <MNN/Tensor.hpp>

#include "golden.h"
#include "{{ name }}Inputs.h"

namespace {

const int kOutputWidth = {{ output.width }};

// One model, one session. Whatever goes wrong is thrown with the step's name: MNN itself only returns null or a code.

void require(bool good, const char *what) {
  if (!good) throw std::runtime_error(what);
}

void require(bool good, NSString *what) {
  if (!good) throw std::runtime_error([what UTF8String]);
}

// Values of each input row by row, in the order of {{ name }}Inputs; golden.bin does not align them.
typedef std::vector<const unsigned char *> Values;

class Model {
 public:
  explicit Model(NSString *path) {
    net_ = MNN::Interpreter::createFromFile([path fileSystemRepresentation]);
    require(net_, [NSString stringWithFormat:@"createFromFile: %@ is missing or no MNN model", path]);
    MNN::ScheduleConfig config;
    config.type = MNN_FORWARD_CPU;
    config.numThread = 1;
    session_ = net_->createSession(config);
    if (!session_) close();
    require(session_, @"createSession: null");
  }

  ~Model() { close(); }

  Model(const Model &) = delete;
  Model &operator=(const Model &) = delete;

  // False if MNN does not know its own session any more.
  bool close() {
    const bool released = !session_ || net_->releaseSession(session_);
    if (net_) MNN::Interpreter::destroy(net_);
    session_ = nullptr;
    net_ = nullptr;
    return released;
  }

  std::vector<float> score(const Values &values, int rows) {
    char why[256];
    for (size_t i = 0; i < {{ name }}InputCount; i++)
      require(input_check(&{{ name }}Inputs[i], values[i], (uint32_t)rows, why, sizeof why), why);
    if (rows != rows_) resize(rows);
    std::vector<std::unique_ptr<MNN::Tensor>> hosts;  // kept until the session has run
    for (size_t i = 0; i < {{ name }}InputCount; i++) {
      MNN::Tensor *device = input({{ name }}Inputs[i]);
      hosts.emplace_back(new MNN::Tensor(device, device->getDimensionType()));
      fill(*hosts.back(), {{ name }}Inputs[i], values[i], rows);
      require(device->copyFromHostTensor(hosts.back().get()),
              [NSString stringWithFormat:@"copyFromHostTensor: %s refused", {{ name }}Inputs[i].name]);
    }
    const MNN::ErrorCode code = net_->runSession(session_);
    require(code == MNN::NO_ERROR, [NSString stringWithFormat:@"runSession: code %d", (int)code]);
    const std::vector<float> scores = read(rows);
    require(score_check(scores.data(), scores.size(), why, sizeof why), why);
    return scores;
  }

 private:
  // By name and never by a null name, which would be the alphabetically first input.
  MNN::Tensor *input(const input_tensor &wanted) const {
    MNN::Tensor *tensor = net_->getSessionInput(session_, wanted.name);
    require(tensor, [NSString stringWithFormat:@"getSessionInput: the model has no input %s", wanted.name]);
    return tensor;
  }

  // A session that is not resized answers the rows of the batch before, or crashes.
  void resize(int rows) {
    rows_ = 0;
    for (const input_tensor &wanted : {{ name }}Inputs) {
      MNN::Tensor *tensor = input(wanted);
      const halide_type_t type = tensor->getType();
      require(type.bits == 32 && type.code == (wanted.dtype == INPUT_FLOAT32 ? halide_type_float : halide_type_int),
              [NSString stringWithFormat:@"%s: the model takes another type of element", wanted.name]);
      net_->resizeTensor(tensor, {rows, (int)wanted.width});
    }
    net_->resizeSession(session_);
    rows_ = rows;
  }

  void fill(MNN::Tensor &host, const input_tensor &wanted, const unsigned char *values, int rows) const {
    const size_t count = (size_t)rows * wanted.width;
    require(host.elementSize() >= 0 && (size_t)host.elementSize() == count && host.host<char>(),
            [NSString stringWithFormat:@"%s: room for %d values, %zu are to be copied", wanted.name, host.elementSize(),
                                       count]);
    if (wanted.dtype != INPUT_INT64) {
      memcpy(host.host<char>(), values, input_size(&wanted, (uint32_t)rows));
      return;
    }
    for (size_t i = 0; i < count; i++) {
      int64_t value;
      memcpy(&value, values + i * sizeof value, sizeof value);
      host.host<int32_t>()[i] = (int32_t)value;  // the range of the input fits
    }
  }

  std::vector<float> read(int rows) const {
    MNN::Tensor *device = net_->getSessionOutput(session_, {{ name }}Output);
    require(device, [NSString stringWithFormat:@"getSessionOutput: the model has no output %s", {{ name }}Output]);
    const halide_type_t type = device->getType();
    require(type.code == halide_type_float && type.bits == 32, @"the output is not float32");
    MNN::Tensor host(device, device->getDimensionType());
    require(device->copyToHostTensor(&host), @"copyToHostTensor: refused");
    require(host.elementSize() == rows * kOutputWidth && host.host<float>(),
            [NSString stringWithFormat:@"the output has %d values for %d rows", host.elementSize(), rows]);
    return std::vector<float>(host.host<float>(), host.host<float>() + rows * kOutputWidth);
  }

  MNN::Interpreter *net_ = nullptr;
  MNN::Session *session_ = nullptr;
  int rows_ = 0;
};

// Random cases

typedef std::vector<std::vector<unsigned char>> Row;

template <typename T>
void append(std::vector<unsigned char> &bytes, T value) {
  const unsigned char *from = reinterpret_cast<const unsigned char *>(&value);
  bytes.insert(bytes.end(), from, from + sizeof value);
}

// One row, uniform in the declared ranges. Mirrored, half of the floats change their sign; integers do not, because a
// negative id is in no vocabulary.
Row randomRow(std::mt19937 &random, bool mirrored) {
  Row row;
  for (const input_tensor &input : {{ name }}Inputs) {
    std::vector<unsigned char> bytes;
    for (uint32_t i = 0; i < input.width; i++) {
      const input_range &range = input.ranges[i];
      if (input.dtype == INPUT_FLOAT32) {
        const float value = (float)std::uniform_real_distribution<double>(range.low, range.high)(random);
        append(bytes, mirrored && random() % 2 ? -value : value);
      } else {
        const int64_t value = std::uniform_int_distribution<int64_t>((int64_t)range.low, (int64_t)range.high)(random);
        if (input.dtype == INPUT_INT64)
          append(bytes, value);
        else
          append(bytes, (int32_t)value);
      }
    }
    row.push_back(bytes);
  }
  return row;
}

int report(bool good, NSString *what) {
  printf("%s  %s\n", good ? "ok  " : "FAIL", [what UTF8String]);
  return good ? 0 : 1;
}

// What throws fails the check that it happened in, and the ones after it still run.
template <typename Check>
int caught(NSString *name, Check check) {
  try {
    return check();
  } catch (const std::exception &error) {
    return report(false, [NSString stringWithFormat:@"%@: %@", name, [NSString stringWithUTF8String:error.what()]]);
  }
}

int checkRandomCase(Model &model, std::mt19937 &random, NSString *name, bool mirrored) {
  return caught(name, [&] {
    const Row row = randomRow(random, mirrored);
    Values values;
    for (const std::vector<unsigned char> &bytes : row) values.push_back(bytes.data());
    int failures = 0;
    for (float score : model.score(values, 1))
      // Never at an end: MNN scores NaN as 1. Written so that NaN fails too.
      failures += report(score > {{ output.dimensions[0].low }} && score < {{ output.dimensions[0].high }},
                         [NSString stringWithFormat:@"%@: score %.6f, must lie within the range", name, score]);
    return failures;
  });
}

int checkRandomCases(Model &model) {
  std::mt19937 random(42);
  int failures = checkRandomCase(model, random, @"one random case", false);
  for (int i = 1; i <= 5; i++)
    failures += checkRandomCase(model, random, [NSString stringWithFormat:@"five random cases, %d", i], true);
  return failures;
}

// Golden cases

struct Cases {
  golden content;

  explicit Cases(NSString *path) {
    const bool whole = golden_read([path fileSystemRepresentation], &content);
    if (!whole) golden_free(&content);
    require(whole, [NSString stringWithFormat:@"%@ is missing or no golden cases", path]);
  }
  ~Cases() { golden_free(&content); }
  Cases(const Cases &) = delete;
  Cases &operator=(const Cases &) = delete;
};

void requireSameInputs(const golden &g) {
  const char *stranger =
      golden_stranger(&g, {{ name }}Inputs, {{ name }}InputCount, {{ name }}Output);
  require(!stranger, [NSString stringWithFormat:@"%s: the golden cases are of another model: take both from one bundle",
                                                stranger ? stranger : ""]);
}

int checkGoldenCases(Model &model, NSString *modelPath, NSString *goldenPath) {
  const Cases cases(goldenPath);
  const golden &g = cases.content;
  requireSameInputs(g);
  const int file = golden_file(&g, [modelPath fileSystemRepresentation]);
  require(file >= 0, [NSString stringWithFormat:@"there are no golden cases for %@", [modelPath lastPathComponent]]);
  int failures = 0;
  for (uint32_t i = 0; i < g.n_cases; i++) {
    const golden_case &one = g.cases[i];
    const Values values(one.inputs, one.inputs + g.n_inputs);
    failures += caught([NSString stringWithUTF8String:one.name], [&] {
      return golden_compare(&g, file, &one, model.score(values, (int)one.rows).data()) ? 0 : 1;
    });
  }
  return failures;
}

}  // namespace

int {{ name }}MnnTestsRun(NSString *modelPath, NSString *goldenPath) {
  const int failures = caught(@"model", [=] {
    Model model(modelPath);
    int failed = checkRandomCases(model);
    failed += caught(@"golden cases", [&] { return checkGoldenCases(model, modelPath, goldenPath); });
    return failed + report(model.close(), @"the session is released");
  });
  fflush(stdout);  // the lines must be out before a crash report is
  return failures;
}
