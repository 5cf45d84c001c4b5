import Synchronization

/// The names of the tensors that have been asked for, in the order of their first use.
final class UsedTensors: Sendable {
  private let state = Mutex((names: [String](), known: Set<String>()))

  var names: [String] { state.withLock { $0.names } }

  func add(_ name: String) {
    state.withLock { if $0.known.insert(name).inserted { $0.names.append(name) } }
  }
}
