{% if "model.mnn" in files %}
// Tests of model.mnn ({{ model | comment }}) through MNN's session API, as an app uses it:
// one random case, five random cases, and all golden cases of the bundle.
//
// Plain Foundation, so that the same code runs under XCTest ({{ name }}MnnXCTests.mm) and
// on a command line (mnn_tests_main.mm). It retains nothing, so it compiles with and without ARC. golden.h and the headers
// beside it lie in the bundle's folder c, which must be in the header search paths.
#import "{{ name }}MnnTests.h"

#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "golden.h"
#include "mnn_model.h"
#include "{{ name }}Inputs.h"

namespace {

void require(bool good, NSString *what) {
  if (!good) throw std::runtime_error([what UTF8String]);
}

// Random cases

typedef std::vector<std::vector<unsigned char>> Rows;

template <typename T>
void append(std::vector<unsigned char> &bytes, T value) {
  const unsigned char *from = reinterpret_cast<const unsigned char *>(&value);
  bytes.insert(bytes.end(), from, from + sizeof value);
}

// As many rows, uniform in the declared ranges, by input. Mirrored, half of the floats change their sign; integers do not,
// because a negative id is in no vocabulary.
Rows randomRows(std::mt19937 &random, bool mirrored, uint32_t count) {
  Rows rows;
  for (const input_tensor &input : {{ name }}Inputs) {
    std::vector<unsigned char> bytes;
    for (uint32_t i = 0; i < count * input.size; i++) {
      const input_range &range = input.ranges[input.n_ranges == 1 ? 0 : i % input.size];
      if (input.dtype == INPUT_FLOAT32) {
        const float value = (float)std::uniform_real_distribution<double>(range.low, range.high)(random);
        append(bytes, mirrored && random() % 2 ? -value : value);
      } else {
        const int64_t value = std::uniform_int_distribution<int64_t>((int64_t)range.low, (int64_t)range.high)(random);
        if (input.dtype == INPUT_INT64)
          append(bytes, value);
        else if (input.dtype == INPUT_INT32)
          append(bytes, (int32_t)value);
        else
          append(bytes, (uint8_t)value);
      }
    }
    rows.push_back(bytes);
  }
  return rows;
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

int checkRandomCase(mnn_model &model, std::mt19937 &random, NSString *name, bool mirrored) {
  return caught(name, [&] {
    const uint32_t count = {{ name }}Batch != 0 ? {{ name }}Batch : 1;
    const Rows rows = randomRows(random, mirrored, count);
    std::vector<const void *> values;
    for (const std::vector<unsigned char> &bytes : rows) values.push_back(bytes.data());
    const void *const *outputs = model.predict(values.data(), count);
    int failures = 0;
{% if single %}
    const float *scores = static_cast<const float *>(outputs[0]);
    for (uint32_t i = 0; i < count; i++)
      // Never at an end: MNN scores NaN as 1. Written so that NaN fails too.
      failures += report(scores[i] > {{ output.ranges[0].low }} && scores[i] < {{ output.ranges[0].high }},
                         [NSString stringWithFormat:@"%@: score %.6f, must lie within the range", name, scores[i]]);
{% else %}
    for (uint32_t i = 0; i < {{ name }}OutputCount; i++)  // predict has thrown for a number that is not finite
      failures += report(outputs[i], [NSString stringWithFormat:@"%@: %s is finite", name, {{ name }}Outputs[i].name]);
{% endif %}
    return failures;
  });
}

int checkRandomCases(mnn_model &model) {
  std::mt19937 random(42);
  int failures = checkRandomCase(model, random, @"one random case", false);
  for (int i = 1; i <= 5; i++)
    failures += checkRandomCase(model, random, [NSString stringWithFormat:@"five random cases, %d", i], {{ "true" if beyond else "false" }});
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
      golden_stranger(&g, {{ name }}Inputs, {{ name }}InputCount,
                      {{ name }}Outputs, {{ name }}OutputCount);
  require(!stranger, [NSString stringWithFormat:@"%s: the golden cases are of another model: take both from one bundle",
                                                stranger ? stranger : ""]);
}

int checkGoldenCases(mnn_model &model, NSString *modelPath, NSString *goldenPath) {
  const Cases cases(goldenPath);
  const golden &g = cases.content;
  requireSameInputs(g);
  const int file = golden_file(&g, [modelPath fileSystemRepresentation]);
  require(file >= 0, [NSString stringWithFormat:@"there are no golden cases for %@", [modelPath lastPathComponent]]);
  int failures = 0;
  for (uint32_t i = 0; i < g.n_cases; i++) {
    const golden_case &one = g.cases[i];
    const void *const *values = reinterpret_cast<const void *const *>(one.inputs);
    failures += caught([NSString stringWithUTF8String:one.name],
                       [&] { return golden_compare(&g, file, &one, model.predict(values, one.rows)) ? 0 : 1; });
  }
  return failures;
}

}  // namespace

int {{ name }}MnnTestsRun(NSString *modelPath, NSString *goldenPath) {
  const int failures = caught(@"model", [=] {
    mnn_model model([modelPath fileSystemRepresentation], {{ name }}Inputs, {{ name }}InputCount,
                    {{ name }}Outputs, {{ name }}OutputCount, {{ name }}Batch);
    int failed = checkRandomCases(model);
    failed += caught(@"golden cases", [&] { return checkGoldenCases(model, modelPath, goldenPath); });
    return failed + report(model.close(), @"the session is released");
  });
  fflush(stdout);  // the lines must be out before a crash report is
  return failures;
}
{% endif %}
