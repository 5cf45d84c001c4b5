/// The arithmetic of a run, chosen by name.
public enum Precision: String, Sendable, CaseIterable {
  case float32, float64

  public var element: Element { self == .float32 ? .f32 : .f64 }

  /// Runs the model for its taps alone; the recorder may end it early.
  public func run(_ checkpoint: Checkpoint, _ prompt: Prompt, logitRows: Int?, trace: Trace) throws {
    do {
      switch self {
      case .float32: _ = try Pixtral<Float>(checkpoint).logits(prompt, logitRows: logitRows, trace: trace)
      case .float64: _ = try Pixtral<Double>(checkpoint).logits(prompt, logitRows: logitRows, trace: trace)
      }
    } catch is TraceEnd {}
  }
}
