// Tests of model.mnn ({{ model | comment }}) through MNN's session API, as an app uses it:
// one random case, five random cases, and all golden cases of the bundle.
//
// Plain Foundation, so that the same code runs under XCTest ({{ name }}MnnXCTests.mm) and
// on a command line (mnn_tests_main.mm). It retains nothing, so it compiles with and without ARC. golden.h lies in the
// bundle's folder c, which must be in the header search paths.
#import "{{ name }}MnnTests.h"

#include <climits>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#import <MNN/Interpreter.hpp>
#import <MNN/Tensor.hpp>

#include "golden.h"

namespace {

// What the model takes

struct Range {
  double low, high;
};

struct Input {
  const char *name;
  uint32_t dtype;
  std::vector<Range> dimensions;

  int width() const { return (int)dimensions.size(); }
  size_t itemSize() const { return dtype == GOLDEN_INT64 ? sizeof(int64_t) : sizeof(int32_t); }
};

const std::vector<Input> kInputs = {
{% for input in inputs %}
    {{ "{" }}{{ input.name | quoted }}, GOLDEN_{{ input.dtype | upper }}, {
{% for dimension in input.dimensions %}
        {{ "{" }}{{ dimension.low | float }}, {{ dimension.high | float }}},  // {{ dimension.name | comment }}
{% endfor %}
    }},
{% endfor %}
};
const char *const kOutput = {{ output.name | quoted }};
const int kOutputWidth = {{ output.width }};

// One model, one session. Whatever goes wrong is thrown with the step's name: MNN itself only returns null or a code.

void require(bool good, NSString *what) {
  if (!good) throw std::runtime_error([what UTF8String]);
}

int32_t narrow(int64_t value, const char *name) {
  if (value < INT32_MIN || value > INT32_MAX)
    require(false, [NSString stringWithFormat:@"%s: %lld does not fit, MNN takes 32-bit integers: use fewer ids", name,
                                              (long long)value]);
  return (int32_t)value;
}

// Values of each input row by row, in the order of kInputs; golden.bin does not align them.
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
    if (rows != rows_) resize(rows);
    std::vector<std::unique_ptr<MNN::Tensor>> hosts;  // kept until the session has run
    for (size_t i = 0; i < kInputs.size(); i++) {
      MNN::Tensor *device = input(kInputs[i]);
      hosts.emplace_back(new MNN::Tensor(device, device->getDimensionType()));
      fill(*hosts.back(), kInputs[i], values[i], rows);
      require(device->copyFromHostTensor(hosts.back().get()),
              [NSString stringWithFormat:@"copyFromHostTensor: %s refused", kInputs[i].name]);
    }
    const MNN::ErrorCode code = net_->runSession(session_);
    require(code == MNN::NO_ERROR, [NSString stringWithFormat:@"runSession: code %d", (int)code]);
    return read(rows);
  }

 private:
  // By name and never by a null name, which would be the alphabetically first input.
  MNN::Tensor *input(const Input &wanted) const {
    MNN::Tensor *tensor = net_->getSessionInput(session_, wanted.name);
    require(tensor, [NSString stringWithFormat:@"getSessionInput: the model has no input %s", wanted.name]);
    return tensor;
  }

  // A session that is not resized answers the rows of the batch before, or crashes.
  void resize(int rows) {
    rows_ = 0;
    for (const Input &wanted : kInputs) {
      MNN::Tensor *tensor = input(wanted);
      const halide_type_t type = tensor->getType();
      require(type.bits == 32 && type.code == (wanted.dtype == GOLDEN_FLOAT32 ? halide_type_float : halide_type_int),
              [NSString stringWithFormat:@"%s: the model takes another type of element", wanted.name]);
      net_->resizeTensor(tensor, {rows, wanted.width()});
    }
    net_->resizeSession(session_);
    rows_ = rows;
  }

  void fill(MNN::Tensor &host, const Input &wanted, const unsigned char *values, int rows) const {
    const size_t count = (size_t)rows * wanted.width();
    require(host.elementSize() >= 0 && (size_t)host.elementSize() == count && host.host<char>(),
            [NSString stringWithFormat:@"%s: room for %d values, %zu are to be copied", wanted.name, host.elementSize(),
                                       count]);
    if (wanted.dtype != GOLDEN_INT64) {
      memcpy(host.host<char>(), values, count * wanted.itemSize());
      return;
    }
    for (size_t i = 0; i < count; i++) {
      int64_t value;
      memcpy(&value, values + i * sizeof value, sizeof value);
      host.host<int32_t>()[i] = narrow(value, wanted.name);
    }
  }

  std::vector<float> read(int rows) const {
    MNN::Tensor *device = net_->getSessionOutput(session_, kOutput);
    require(device, [NSString stringWithFormat:@"getSessionOutput: the model has no output %s", kOutput]);
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
  for (const Input &input : kInputs) {
    std::vector<unsigned char> bytes;
    for (const Range &range : input.dimensions) {
      if (input.dtype == GOLDEN_FLOAT32) {
        const float value = (float)std::uniform_real_distribution<double>(range.low, range.high)(random);
        append(bytes, mirrored && random() % 2 ? -value : value);
      } else {
        const int64_t value = std::uniform_int_distribution<int64_t>((int64_t)range.low, (int64_t)range.high)(random);
        if (input.dtype == GOLDEN_INT64)
          append(bytes, value);
        else
          append(bytes, narrow(value, input.name));
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
  bool same = g.n_inputs == kInputs.size() && !strcmp(g.output, kOutput) && kOutputWidth == 1;
  for (uint32_t i = 0; same && i < g.n_inputs; i++)
    same = kInputs[i].name == std::string(g.inputs[i].name) && (uint32_t)kInputs[i].width() == g.inputs[i].width &&
           kInputs[i].dtype == g.inputs[i].dtype;
  require(same, @"the golden cases are of another model: take both from one bundle");
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
