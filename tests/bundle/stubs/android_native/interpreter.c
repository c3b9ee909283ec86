/* The natives of Interpreter.java beside this file, through TensorFlow Lite's C API. Tensors -1, -2 and so on are the outputs. */
#include <jni.h>

#include "tensorflow/lite/c/c_api.h"

#define NATIVE(type, name) JNIEXPORT type JNICALL Java_org_tensorflow_lite_Interpreter_##name

enum { MOST_DIMENSIONS = 8 };

static TfLiteTensor *tensor(jlong handle, jint index) {
  TfLiteInterpreter *interpreter = (TfLiteInterpreter *)handle;
  return index < 0 ? (TfLiteTensor *)TfLiteInterpreterGetOutputTensor(interpreter, -1 - index)
                   : TfLiteInterpreterGetInputTensor(interpreter, index);
}

NATIVE(jlong, create)(JNIEnv *env, jclass type, jobject content, jlong size, jint threads) {
  TfLiteModel *model = TfLiteModelCreate((*env)->GetDirectBufferAddress(env, content), size);
  TfLiteInterpreterOptions *options = TfLiteInterpreterOptionsCreate();
  TfLiteInterpreter *interpreter;
  if (!model) return 0;
  TfLiteInterpreterOptionsSetNumThreads(options, threads);
  interpreter = TfLiteInterpreterCreate(model, options);
  if (interpreter) TfLiteInterpreterAllocateTensors(interpreter);
  return (jlong)interpreter;
}

NATIVE(void, delete)(JNIEnv *env, jclass type, jlong handle) { TfLiteInterpreterDelete((TfLiteInterpreter *)handle); }

NATIVE(jint, inputs)(JNIEnv *env, jclass type, jlong handle) {
  return TfLiteInterpreterGetInputTensorCount((TfLiteInterpreter *)handle);
}

NATIVE(jint, outputs)(JNIEnv *env, jclass type, jlong handle) {
  return TfLiteInterpreterGetOutputTensorCount((TfLiteInterpreter *)handle);
}

NATIVE(jstring, name)(JNIEnv *env, jclass type, jlong handle, jint index) {
  return (*env)->NewStringUTF(env, TfLiteTensorName(tensor(handle, index)));
}

NATIVE(jint, type)(JNIEnv *env, jclass type, jlong handle, jint index) { return TfLiteTensorType(tensor(handle, index)); }

NATIVE(jintArray, shape)(JNIEnv *env, jclass type, jlong handle, jint index) {
  const TfLiteTensor *t = tensor(handle, index);
  jint shape[MOST_DIMENSIONS], count = TfLiteTensorNumDims(t), i;
  jintArray result = (*env)->NewIntArray(env, count);
  for (i = 0; i < count && i < MOST_DIMENSIONS; i++) shape[i] = TfLiteTensorDim(t, i);
  (*env)->SetIntArrayRegion(env, result, 0, count, shape);
  return result;
}

NATIVE(jint, resize)(JNIEnv *env, jclass type, jlong handle, jint index, jintArray dims) {
  jint shape[MOST_DIMENSIONS], count = (*env)->GetArrayLength(env, dims);
  (*env)->GetIntArrayRegion(env, dims, 0, count, shape);
  return TfLiteInterpreterResizeInputTensor((TfLiteInterpreter *)handle, index, shape, count);
}

NATIVE(jint, allocate)(JNIEnv *env, jclass type, jlong handle) {
  return TfLiteInterpreterAllocateTensors((TfLiteInterpreter *)handle);
}

NATIVE(jint, invoke)(JNIEnv *env, jclass type, jlong handle) {
  return TfLiteInterpreterInvoke((TfLiteInterpreter *)handle);
}

NATIVE(jint, write)(JNIEnv *env, jclass type, jlong handle, jint index, jobject bytes) {
  size_t size = (*env)->GetDirectBufferCapacity(env, bytes);
  return TfLiteTensorCopyFromBuffer(tensor(handle, index), (*env)->GetDirectBufferAddress(env, bytes), size);
}

NATIVE(jobject, read)(JNIEnv *env, jclass type, jlong handle, jint index) {
  TfLiteTensor *output = tensor(handle, index);
  return (*env)->NewDirectByteBuffer(env, TfLiteTensorData(output), TfLiteTensorByteSize(output));
}
