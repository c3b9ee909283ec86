// What the bundle's sources call of the pod TensorFlowLiteSwift, with its signatures and its refusals, over the same C API.
import Foundation
import TensorFlowLiteC

public protocol Delegate: AnyObject {
    var cDelegate: OpaquePointer? { get }
}

public enum InterpreterError: Error, Equatable {
    case invalidTensorIndex(index: Int, maxIndex: Int)
    case invalidTensorDataCount(provided: Int, required: Int)
    case invalidTensorDataType
    case failedToLoadModel
    case failedToCreateInterpreter
    case failedToResizeInputTensor(index: Int)
    case failedToCopyDataToInputTensor
    case failedToAllocateTensors
    case allocateTensorsRequired
    case invokeInterpreterRequired
}

/// Neither it nor what is in it is `Sendable`, as in the pod.
public struct Tensor: Equatable, Hashable {
    public enum DataType: Equatable, Hashable {
        case bool, uInt8, int16, int32, int64, float16, float32, float64
    }

    public struct Shape: Equatable, Hashable {
        public let rank: Int
        public let dimensions: [Int]

        public init(_ dimensions: [Int]) {
            rank = dimensions.count
            self.dimensions = dimensions
        }

        public init(_ elements: Int...) { self.init(elements) }
    }

    public let name: String
    public let dataType: DataType
    public let shape: Shape
    public let data: Data
}

public final class Interpreter {
    public struct Options: Equatable, Hashable {
        public var threadCount: Int? = nil
        public var isXNNPackEnabled: Bool = false
        public init() {}
    }

    public let options: Options?
    public let delegates: [Delegate]?
    private let interpreter: OpaquePointer

    public var inputTensorCount: Int { return Int(TfLiteInterpreterGetInputTensorCount(interpreter)) }
    public var outputTensorCount: Int { return Int(TfLiteInterpreterGetOutputTensorCount(interpreter)) }

    public init(modelPath: String, options: Options? = nil, delegates: [Delegate]? = nil) throws {
        guard let model = TfLiteModelCreateFromFile(modelPath) else { throw InterpreterError.failedToLoadModel }
        defer { TfLiteModelDelete(model) }
        let own = TfLiteInterpreterOptionsCreate()
        defer { TfLiteInterpreterOptionsDelete(own) }
        if let threads = options?.threadCount, threads > 0 { TfLiteInterpreterOptionsSetNumThreads(own, Int32(threads)) }
        for delegate in delegates ?? [] { TfLiteInterpreterOptionsAddDelegate(own, delegate.cDelegate) }
        guard let created = TfLiteInterpreterCreate(model, own) else { throw InterpreterError.failedToCreateInterpreter }
        interpreter = created
        self.options = options
        self.delegates = delegates
    }

    deinit { TfLiteInterpreterDelete(interpreter) }

    public func allocateTensors() throws {
        guard TfLiteInterpreterAllocateTensors(interpreter) == kTfLiteOk else {
            throw InterpreterError.failedToAllocateTensors
        }
    }

    public func resizeInput(at index: Int, to shape: Tensor.Shape) throws {
        try check(index, inputTensorCount)
        let dimensions = shape.dimensions.map { Int32($0) }
        guard TfLiteInterpreterResizeInputTensor(interpreter, Int32(index), dimensions, Int32(shape.rank)) == kTfLiteOk
        else { throw InterpreterError.failedToResizeInputTensor(index: index) }
    }

    @discardableResult
    public func copy(_ data: Data, toInputAt index: Int) throws -> Tensor {
        try check(index, inputTensorCount)
        guard let tensor = TfLiteInterpreterGetInputTensor(interpreter, Int32(index)) else {
            throw InterpreterError.allocateTensorsRequired
        }
        let size = TfLiteTensorByteSize(tensor)
        guard data.count == size else {
            throw InterpreterError.invalidTensorDataCount(provided: data.count, required: size)
        }
        guard data.withUnsafeBytes({ TfLiteTensorCopyFromBuffer(tensor, $0.baseAddress, data.count) }) == kTfLiteOk else {
            throw InterpreterError.failedToCopyDataToInputTensor
        }
        return try input(at: index)
    }

    public func invoke() throws {
        guard TfLiteInterpreterInvoke(interpreter) == kTfLiteOk else { throw InterpreterError.allocateTensorsRequired }
    }

    public func input(at index: Int) throws -> Tensor {
        try check(index, inputTensorCount)
        let tensor = TfLiteInterpreterGetInputTensor(interpreter, Int32(index))
        return try Self.tensor(tensor, otherwise: .allocateTensorsRequired)
    }

    public func output(at index: Int) throws -> Tensor {
        try check(index, outputTensorCount)
        let tensor = TfLiteInterpreterGetOutputTensor(interpreter, Int32(index))
        return try Self.tensor(tensor, otherwise: .invokeInterpreterRequired)
    }

    private func check(_ index: Int, _ count: Int) throws {
        guard index >= 0, index < count else {
            throw InterpreterError.invalidTensorIndex(index: index, maxIndex: count - 1)
        }
    }

    private static func tensor(_ tensor: OpaquePointer?, otherwise error: InterpreterError) throws -> Tensor {
        guard let tensor = tensor, let bytes = TfLiteTensorData(tensor), let name = TfLiteTensorName(tensor) else {
            throw error
        }
        let types: [(TfLiteType, Tensor.DataType)] = [
            (kTfLiteBool, .bool), (kTfLiteUInt8, .uInt8), (kTfLiteInt16, .int16), (kTfLiteInt32, .int32),
            (kTfLiteInt64, .int64), (kTfLiteFloat16, .float16), (kTfLiteFloat32, .float32), (kTfLiteFloat64, .float64),
        ]
        guard let type = types.first(where: { $0.0 == TfLiteTensorType(tensor) }) else {
            throw InterpreterError.invalidTensorDataType
        }
        return Tensor(
            name: String(cString: name),
            dataType: type.1,
            shape: Tensor.Shape((0..<TfLiteTensorNumDims(tensor)).map { Int(TfLiteTensorDim(tensor, $0)) }),
            data: Data(bytes: bytes, count: TfLiteTensorByteSize(tensor))
        )
    }
}
