// A recorder of one's own sees every activation as it is computed.

import PixtralReference

/// The norm of each layer's output.
final class Norms: TraceRecorder {
  var norms: [(String, Double)] = []

  func record<Scalar: BLASScalar>(_ name: String, _ value: Matrix<Scalar>) {
    guard name.hasSuffix(".output"), name.split(separator: ".").count == 4 else { return }
    let squares = value.values.reduce(0.0) { $0 + Double($1) * Double($1) }
    norms.append((name, squares.squareRoot()))
  }
}

try BLAS.begin()
let recorder = Norms()
let prompt = Prompt(tokens: [1, 3, 23325, 2294, 4])
_ = try Pixtral<Double>(Checkpoint("seeded:tiny"))(prompt, trace: Trace(recorder))
for (name, norm) in recorder.norms { print(name, norm) }
