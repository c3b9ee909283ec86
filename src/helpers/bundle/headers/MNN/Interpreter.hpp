// What the runners use of MNN's session API, with the layout of version 3, to be linked against the library that the
// Python wheel carries: the wheel has no headers.
#pragma once

#include <string>
#include <vector>

#include <MNN/Tensor.hpp>

enum MNNForwardType { MNN_FORWARD_CPU = 0 };

namespace MNN {

enum ErrorCode { NO_ERROR = 0, OUT_OF_MEMORY, NOT_SUPPORT, COMPUTE_SIZE_ERROR, NO_EXECUTION, INVALID_VALUE };

struct BackendConfig;
class Session;

struct ScheduleConfig {
  std::vector<std::string> saveTensors;
  MNNForwardType type = MNN_FORWARD_CPU;
  int numThread = 4;
  struct Path {
    std::vector<std::string> inputs, outputs;
    enum Mode { Op = 0, Tensor = 1 };
    Mode mode = Op;
  };
  Path path;
  MNNForwardType backupType = MNN_FORWARD_CPU;
  BackendConfig *backendConfig = nullptr;
};

const char *getVersion();

class Interpreter {
 public:
  static Interpreter *createFromFile(const char *file);
  static void destroy(Interpreter *net);
  Session *createSession(const ScheduleConfig &config);
  bool releaseSession(Session *session);
  void resizeTensor(Tensor *tensor, const std::vector<int> &shape);
  void resizeSession(Session *session);
  ErrorCode runSession(Session *session) const;
  Tensor *getSessionInput(const Session *session, const char *name);
  Tensor *getSessionOutput(const Session *session, const char *name);
};

}  // namespace MNN
