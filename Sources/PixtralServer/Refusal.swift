import Hummingbird
import PixtralStorage

/// A request that is not answered as it asks: a status, and what OpenAI's clients show of it.
struct Refusal: Error, Equatable {
  let status: HTTPResponse.Status
  /// What programs branch on: mistral-common's exception where it raises one.
  let type: String
  /// One sentence.
  let message: String
  /// The key of the request that is at fault.
  var param: String?
  /// What OpenAI has for it beside the type.
  var code: String?
  /// Headers beside those of every answer.
  var headers: HTTPFields = [:]

  var json: JSON {
    func text(_ text: String?) -> JSON { text.map(JSON.string) ?? .null }
    return [
      "error": [
        "message": .string(message), "type": .string(type), "param": text(param), "code": text(code),
      ]
    ]
  }
}

extension Refusal {
  /// A key with a value that it cannot have.
  static func wrong(_ key: String, expected: String, found: String) -> Refusal {
    let error = InputError(.wrongRequest, key, expected: expected, found: shortened(found))
    return Refusal(
      status: .badRequest, type: "invalid_request_error", message: error.description, param: key)
  }

  /// What an input was refused with; a fault of the checkpoint is no fault of the request.
  init(_ error: InputError) {
    switch error.kind {
    case .wrongRequest, .malformedJSON, .wrongImage, .brokenImage, .largeImage, .wrongTokens, .wrongPixels,
      .largeRun:
      self.init(
        status: .badRequest, type: error.exception ?? "invalid_request_error", message: error.description)
    case .unreadableFile where error.exception != nil:
      self.init(status: .badRequest, type: error.type, message: error.description)
    default:
      self.init(status: .internalServerError, type: "server_error", message: error.description)
    }
  }

  /// Whatever was thrown.
  init(_ error: any Error) {
    switch error {
    case let refusal as Refusal: self = refusal
    case let error as InputError: self.init(error)
    case is Lane.Full: self = .busy("expected room in the queue, found it full; --queue makes it longer")
    case is Lane.Stopped: self = .stopping
    default: self.init(status: .internalServerError, type: "server_error", message: "\(error)")
    }
  }

  static let stopping = Refusal(
    status: .serviceUnavailable, type: "service_unavailable_error", message: "the server is shutting down",
    code: "shutting_down")

  /// - message: what there is too much of.
  static func busy(_ message: String) -> Refusal {
    Refusal(
      status: .tooManyRequests, type: "rate_limit_error", message: message, code: "queue_full",
      headers: [.retryAfter: "1"])
  }

  static let wrongKey = Refusal(
    status: .unauthorized, type: "authentication_error",
    message: "Authorization: expected Bearer and the key that the server was started with",
    code: "invalid_api_key", headers: [.wwwAuthenticate: "Bearer"])

  static func noPath(_ path: String) -> Refusal {
    Refusal(
      status: .notFound, type: "not_found_error",
      message: "\(shortened(path)): expected one of \(Routes.paths.joined(separator: ", "))")
  }

  static func noModel(_ name: String, served: [String]) -> Refusal {
    Refusal(
      status: .notFound, type: "not_found_error",
      message: "model: expected \(served.joined(separator: " or ")), found \(shortened(name))",
      param: "model", code: "model_not_found")
  }

  static func wrongMethod(_ method: HTTPRequest.Method, allowed: [HTTPRequest.Method]) -> Refusal {
    let names = allowed.map(\.rawValue).joined(separator: ", ")
    return Refusal(
      status: .methodNotAllowed, type: "invalid_request_error",
      message: "method: expected \(names), found \(shortened(method.rawValue))", headers: [.allow: names])
  }

  static func wrongMediaType(_ type: String?) -> Refusal {
    Refusal(
      status: .unsupportedMediaType, type: "invalid_request_error",
      message: "Content-Type: expected application/json, found \(type.map { shortened($0) } ?? "none")")
  }

  static func largeBody(limit: Int) -> Refusal {
    Refusal(
      status: .contentTooLarge, type: "invalid_request_error",
      message: "the request: expected at most \(limit) bytes, found more; --max-body allows more")
  }

  static func brokenBody(_ error: any Error) -> Refusal {
    Refusal(
      status: .badRequest, type: "invalid_request_error",
      message: "the body: expected all of it, found \(shortened("\(error)"))")
  }

  /// - limit: bytes of which more tokens come than a context has, whatever they say.
  static func longText(limit: Int) -> Refusal {
    Refusal(
      status: .badRequest, type: "invalid_request_error",
      message:
        "the request: expected at most \(limit) bytes beside its images, found more; longer texts cannot "
        + "fit in --context")
  }

  static func slowBody(_ patience: Duration) -> Refusal {
    Refusal(
      status: .requestTimeout, type: "invalid_request_error",
      message: "the body: expected it within \(patience), found a part of it")
  }
}
