package org.tensorflow.lite;

import java.util.Map;

public interface InterpreterApi extends AutoCloseable {
  class Options {
    int numThreads = -1;

    public Options setNumThreads(int numThreads) {
      this.numThreads = numThreads;
      return this;
    }
  }

  void runForMultipleInputsOutputs(Object[] inputs, Map<Integer, Object> outputs);

  void allocateTensors();

  void resizeInput(int idx, int[] dims);

  int getInputTensorCount();

  Tensor getInputTensor(int inputIndex);

  int getOutputTensorCount();

  Tensor getOutputTensor(int outputIndex);

  @Override
  void close();
}
