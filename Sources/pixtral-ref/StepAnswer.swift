import PixtralReference
import PixtralStorage
import PixtralText

/// The answer to a step of a session: the bytes of its output, and their shape.
struct StepAnswer {
  let shape: [Int]
  let bytes: [UInt8]

  /// - tensors: the path of the file that the question names.
  /// - Returns: nil for a stage that is not done here.
  /// - Throws: `InputError` for parameters and tensors that make no such step.
  init?(_ question: PythonValue, tensors path: String, _ precision: Precision) throws {
    guard let step = (question["stage"]?.text).flatMap(Step.init) else { return nil }
    var text: [UInt8] = []
    (question["parameters"] ?? .none).write(to: &text, compact: true)
    let parameters = try text.withUnsafeBytes { try JSON(parsing: $0, place: "parameters") }
    let tensors = try Safetensors(path)
    switch precision {
    case .float32: self.init(try step(parameters, tensors, in: Float.self))
    case .float64: self.init(try step(parameters, tensors, in: Double.self))
    }
  }

  private init<Scalar: BLASScalar>(_ output: Matrix<Scalar>) {
    shape = [output.rows, output.columns]
    bytes = output.values.withUnsafeBytes { Array($0) }
  }
}
