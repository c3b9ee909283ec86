/* Score the golden cases with an .mnn file through MNN's session API.
 *
 *     run_mnn MODEL.mnn GOLDEN.bin [SECONDS]
 *
 * Inputs are found by their names and checked, the batch is set before each case, every step is checked. Exit status 0 if every case
 * is reproduced, 1 if one is not, 2 if a file cannot be used. With SECONDS each case is also timed that long. */
#include <memory>
#include <vector>

#include <MNN/Interpreter.hpp>
#include <MNN/Tensor.hpp>

#include "golden.h"
#include "timing.h"
#include "{{ name }}Inputs.h"

namespace {

struct Session {
  MNN::Interpreter *net = nullptr;
  MNN::Session *session = nullptr;
  std::vector<MNN::Tensor *> inputs;
  MNN::Tensor *output = nullptr;

  ~Session() {
    if (session) net->releaseSession(session);
    if (net) MNN::Interpreter::destroy(net);
  }
};

struct Call {
  const golden *g;
  const golden_case *one;
  Session *model;
  std::vector<std::unique_ptr<MNN::Tensor>> hosts;  // kept: a host tensor that is gone leaves MNN reading freed memory
  std::unique_ptr<MNN::Tensor> result;
  char error[256];
};

int unusable(const char *what, const char *detail) {
  fprintf(stderr, "%s: %s\n", what, detail);
  return 2;
}

// MNN computes on 32-bit integers; what the model was given as int64 is narrowed, which the ranges of its inputs allow.
bool fits(const input_tensor &input, const MNN::Tensor *tensor) {
  const halide_type_t type = tensor->getType();
  return type.bits == 32 && type.code == (input.dtype == INPUT_FLOAT32 ? halide_type_float : halide_type_int);
}

// The first thing that is missing in the file, nullptr if nothing is.
const char *open(const char *path, Session &model) {
  MNN::ScheduleConfig config;
  config.type = MNN_FORWARD_CPU;
  config.numThread = 1;
  if (!(model.net = MNN::Interpreter::createFromFile(path))) return "not an MNN model";
  if (!(model.session = model.net->createSession(config))) return "no session";
  for (const input_tensor &input : {{ name }}Inputs) {
    MNN::Tensor *tensor = model.net->getSessionInput(model.session, input.name);
    if (!tensor || !fits(input, tensor)) return input.name;
    model.inputs.push_back(tensor);
  }
  model.output = model.net->getSessionOutput(model.session, {{ name }}Output);
  return model.output ? nullptr : {{ name }}Output;
}

void narrow(const unsigned char *from, size_t count, int32_t *to) {
  for (size_t i = 0; i < count; i++) {
    int64_t value;
    memcpy(&value, from + i * sizeof value, sizeof value);
    to[i] = (int32_t)value;
  }
}

bool resize(Call &c) {
  for (uint32_t i = 0; i < c.g->n_inputs; i++)
    c.model->net->resizeTensor(c.model->inputs[i], {(int)c.one->rows, (int)c.g->inputs[i].width});
  c.model->net->resizeSession(c.model->session);
  c.hosts.clear();
  for (uint32_t i = 0; i < c.g->n_inputs; i++) {
    const MNN::Tensor *device = c.model->inputs[i];
    c.hosts.emplace_back(new MNN::Tensor(device, device->getDimensionType()));
    if ((size_t)c.hosts[i]->elementSize() != (size_t)c.one->rows * c.g->inputs[i].width) return false;
  }
  c.result.reset(new MNN::Tensor(c.model->output, c.model->output->getDimensionType()));
  return (uint32_t)c.result->elementSize() == c.one->rows;
}

// Copy in, run, copy out, of inputs that were checked.
int run(void *state) {
  Call &c = *static_cast<Call *>(state);
  for (uint32_t i = 0; i < c.g->n_inputs; i++) {
    const size_t count = (size_t)c.one->rows * c.g->inputs[i].width;
    if (c.g->inputs[i].dtype != INPUT_INT64)
      memcpy(c.hosts[i]->host<char>(), c.one->inputs[i], golden_size(c.g, c.one, i));
    else
      narrow(c.one->inputs[i], count, c.hosts[i]->host<int32_t>());
    if (!c.model->inputs[i]->copyFromHostTensor(c.hosts[i].get())) return 0;
  }
  if (c.model->net->runSession(c.model->session) != MNN::NO_ERROR) return 0;
  return c.model->output->copyToHostTensor(c.result.get());
}

bool score(Call &c) {
  for (uint32_t i = 0; i < c.g->n_inputs; i++)
    if (!input_check(&{{ name }}Inputs[i], c.one->inputs[i], c.one->rows, c.error, sizeof c.error)) return false;
  if (resize(c) && run(&c)) return score_check(c.result->host<float>(), c.one->rows, c.error, sizeof c.error);
  snprintf(c.error, sizeof c.error, "MNN could not run the model");
  return false;
}

// Score a case and compare; true if it is reproduced.
bool check(Call &c, int file, double seconds) {
  if (!score(c)) {
    printf("FAIL  %-24s could not be scored: %s\n", c.one->name, c.error);
    return false;
  }
  if (!golden_compare(c.g, file, c.one, c.result->host<float>())) return false;
  if (seconds > 0)
    printf("time  %-24s %u rows %.3f us\n", c.one->name, (unsigned)c.one->rows, timing_microseconds(run, &c, seconds));
  return true;
}

}  // namespace

int main(int argc, char **argv) {
  golden g;
  uint32_t failed = 0;
  int file;
  if (argc < 3) return unusable("usage", "run_mnn MODEL.mnn GOLDEN.bin [SECONDS]");
  if (!golden_read(argv[2], &g)) return golden_free(&g), unusable("not golden cases", argv[2]);
  if ((file = golden_file(&g, argv[1])) < 0) return unusable("no golden cases for this file", argv[1]);
  if (const char *stranger = golden_stranger(&g, {{ name }}Inputs, {{ name }}InputCount, {{ name }}Output))
    return unusable("golden cases of another model", stranger);
  {
    Session model;
    Call c{&g, nullptr, &model, {}, nullptr, ""};
    if (const char *missing = open(argv[1], model)) return unusable("the model cannot be used", missing);
    for (uint32_t i = 0; i < g.n_cases; i++) {
      c.one = &g.cases[i];
      failed += !check(c, file, argc > 3 ? atof(argv[3]) : 0);
    }
  }
  printf("%s: %u of %u cases reproduced by MNN %s\n", g.files[file], (unsigned)(g.n_cases - failed),
         (unsigned)g.n_cases, MNN::getVersion());
  fflush(stdout);
  golden_free(&g);
  return failed ? 1 : 0;
}
