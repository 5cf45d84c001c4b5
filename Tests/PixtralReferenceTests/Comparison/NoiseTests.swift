import Foundation
import PixtralStorage
import TestSupport
import Testing

@testable import PixtralReference

/// Limits and their evidence: the envelopes beside the model cases. Trace.md, limits.
@Suite("Limits")
struct NoiseTests {
  private let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  @Test("The table of noise has the largest distance of the cases' schedules, and no other number")
  func table() throws {
    var most: [String: [String: [Arithmetic: Double]]] = [:]
    for part in ["tiny", "small", "large"] {
      let cases = "\(fixtures)/cases/model/\(part)"
      for name in try FileManager.default.contentsOfDirectory(atPath: cases) {
        let envelope = try JSON(file: "\(cases)/\(name)/envelope.json", upTo: 1 << 23)
        let model = try #require(envelope["model"]?.string)
        let taps = try #require(envelope["taps"]?.strings)
        for arithmetic in Arithmetic.allCases {
          guard let schedules = envelope["arithmetics"]?[arithmetic.rawValue]?["relF"]?.members else {
            continue
          }
          #expect(arithmetic == .float64 || schedules.count >= 4)
          for schedule in schedules {
            for (tap, distance) in zip(taps, try #require(schedule.value.decimals)) {
              most[model, default: [:]][tap, default: [:]][arithmetic] = max(
                most[model]?[tap]?[arithmetic] ?? 0, distance)
            }
          }
        }
      }
    }
    #expect(Set(most.keys) == Set(Noise.ofModels.keys))
    for (model, taps) in most {
      let noise = try #require(Noise.ofModels[model])
      #expect(Set(noise.taps.keys) == Set(taps.keys))
      for (tap, distances) in taps {
        for arithmetic in Arithmetic.allCases {
          var evidence = max(distances[arithmetic] ?? 0, arithmetic.leastNoise)
          if arithmetic == .float64 { evidence = max(evidence, (distances[.float32] ?? 0) * 0x1p-29) }
          let found = try #require(noise.taps[tap]?[arithmetic])
          // Rounded up to two digits.
          #expect(found >= evidence * 0.999 && found <= evidence * 1.1, "\(model) \(tap) \(arithmetic)")
        }
      }
    }
  }

  @Test("A tap that was not measured has the noise of the nearest layer, and what is no tap has none")
  func nearestLayer() throws {
    let noise = try #require(Noise.ofModels["seeded:tiny"])
    let last = try #require(noise.at("decoder.layers.2.attention.q", .float32))
    #expect(last.tap == "decoder.layers.2.attention.q")
    let beyond = try #require(noise.at("decoder.layers.50.attention.q", .float32))
    #expect(beyond.tap == "decoder.layers.2.attention.q")
    #expect(beyond.relF == last.relF)
    #expect(
      noise.at("vision.layers.1.attention.scores", .float32)?.tap == "vision.layers.1.attention.context")
    #expect(noise.at("image0", .float32) == nil)
    #expect(noise.at("decoder.layers.0.nothing", .float32) == nil)
  }

  @Test("Another model has the limits of the seeded one of nearest width, and says so")
  func nearestModel() throws {
    #expect(Noise.nearest(to: "seeded:tiny", nil, columns: nil).model == "seeded:tiny")
    #expect(Noise.nearest(to: "my-pixtral", nil, columns: 12_288).model == "seeded:pixtral-large")
    #expect(Noise.nearest(to: nil, nil, columns: 120).model == "seeded:tiny")
    var file = TensorFile()
    file.add("decoder.layers.5.attention_norm", [1, 90], [Float](repeating: 1, count: 90))
    let trace = try TraceFile(folder.write("t.safetensors", file.bytes))
    let notes = try Comparison(reference: trace, candidate: trace).notes
    #expect(
      notes.contains(
        "the limits are twice the noise of right runs that was measured on seeded:tiny, the nearest model"))
    #expect(notes.contains { $0.hasPrefix("1 tap that no golden has: the limit is that of the nearest") })
  }

  @Test("Between two and eight times the noise nothing is decided: it neither passes nor fails")
  func undecided() throws {
    let noise = try #require(Noise.ofModels["seeded:tiny"]?.at("decoder.norm", .float32)?.relF)
    func comparison(_ multiple: Double) throws -> Comparison {
      // Two values of which the second is off.
      var (reference, candidate) = (TensorFile(), TensorFile())
      let off = Float(multiple * noise * 2.0.squareRoot())
      reference.add("decoder.norm", [1, 2], [1, 1])
      candidate.add("decoder.norm", [1, 2], [1, 1 + off])
      return try Comparison(
        reference: TraceFile(folder.write("e.safetensors", reference.bytes)),
        candidate: TraceFile(folder.write("a.safetensors", candidate.bytes)))
    }
    let (close, undecided, far) = (try comparison(1.9), try comparison(4), try comparison(8.5))
    #expect(close.passed && !close.failed)
    #expect(!undecided.passed && !undecided.failed)
    #expect(undecided.undecided.map(\.name) == ["decoder.norm"])
    #expect(undecided.firstDivergence == nil)
    #expect(!far.passed && far.failed)
    #expect(far.firstDivergence?.name == "decoder.norm")
  }

  @Test("A damaged envelope is refused")
  func damaged() throws {
    for (text, place) in [
      (#"{"model": "n", "taps": ["logits"], "arithmetics": {}}"#, "model"),
      (#"{"model": "m", "taps": [], "arithmetics": {}}"#, "taps"),
      (#"{"model": "m", "taps": ["logits", "logits"], "arithmetics": {}}"#, "taps"),
      (#"{"model": "m", "taps": ["logits"], "arithmetics": {}}"#, "arithmetics"),
      (#"{"model": "m", "taps": ["logits"], "arithmetics": {"tf32": {"relF": {}}}}"#, "arithmetics.tf32"),
      (#"{"model": "m", "taps": 1, "arithmetics": {}}"#, "taps"),
      (#"{"model": "m", "taps": ["logits"], "arithmetics": 1}"#, "arithmetics"),
      (#"{"model": "m", "taps": ["logits"], "arithmetics": {"float8": {"relF": {}}}}"#, "arithmetics.float8"),
      (
        #"{"model": "m", "taps": ["logits"], "arithmetics": {"float32": {"relF": {"once": [1, 2]}}}}"#,
        "arithmetics.float32.relF.once"
      ),
      (
        #"{"model": "m", "taps": ["logits"], "arithmetics": {"float32": {"relF": {"once": [-1]}}}}"#,
        "arithmetics.float32.relF.once"
      ),
    ] {
      let path = try folder.write("envelope.json", text)
      #expect(try refusal { try Noise(envelope: path, of: "m") }.place == "\(path), \(place)")
    }
  }

  @Test("A layer of any number that an envelope names has its noise")
  func largestLayer() throws {
    let tap = "decoder.layers.\(Int.max).output"
    let path = try folder.write(
      "envelope.json",
      #"{"model": "m", "taps": ["\#(tap)"], "arithmetics": {"float32": {"relF": {"once": [1e-3]}}}}"#)
    #expect(try Noise(envelope: path, of: "m").at(tap, .float32)?.relF == 1e-3)
  }
}
