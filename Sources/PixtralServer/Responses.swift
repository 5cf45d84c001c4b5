import Hummingbird
import NIOCore
import PixtralReference
import PixtralStorage
import PixtralText

/// What happens to a request for an answer.
enum AnswerEvent: Sendable {
  /// It is certain that it can be computed.
  case began
  /// The next token, and the text that is certain by now and was not before; no token where the end makes
  /// more text certain.
  case token(Answer.Token?, String)
  case ended(Answer)
}

extension Routes {
  func json(_ value: JSON, status: HTTPResponse.Status = .ok, headers: HTTPFields = [:]) -> Response {
    var headers = headers
    headers[.contentType] = "application/json"
    return Response(
      status: status, headers: headers, body: .init(byteBuffer: ByteBuffer(string: value.text())))
  }

  /// A refusal. The connection ends with it if the request has a body, which may be anything and without
  /// end; not at once, for then the client would not see why.
  func response(_ refusal: Refusal, to request: Request, _ context: Context) -> Response {
    var headers = refusal.headers
    if request.headers[.contentLength] ?? "0" != "0" || request.headers[.transferEncoding] != nil {
      headers[.connection] = "close"
      let channel = context.channel
      channel.eventLoop.scheduleTask(in: .seconds(2)) { channel.close(promise: nil) }
    }
    return json(refusal.json, status: refusal.status, headers: headers)
  }

  /// An answer in one piece.
  func whole(
    _ events: AsyncThrowingStream<AnswerEvent, any Error>, _ report: Completion
  ) async throws -> Response {
    for try await case .ended(let answer) in events { return json(try report.whole(answer)) }
    throw CancellationError()
  }

  /// An answer as server-sent events, which begin once it is certain that it can be computed.
  func stream(
    _ events: AsyncThrowingStream<AnswerEvent, any Error>, _ completion: CompletionRequest,
    _ report: Completion
  ) async throws -> Response {
    for try await case .began in events { break }
    return Response(
      status: .ok, headers: [.contentType: "text/event-stream", .cacheControl: "no-cache"],
      body: .init { writer in
        do {
          try await write(events, completion, report, to: &writer)
        } catch let error where !(error is CancellationError) {
          try await writer.write(event(Refusal(error).json))
          try await writer.write(Self.done)
        }
        try await writer.finish(nil)
      })
  }

  private func write(
    _ events: AsyncThrowingStream<AnswerEvent, any Error>, _ completion: CompletionRequest,
    _ report: Completion, to writer: inout any ResponseBodyWriter
  ) async throws {
    try await writer.write(event(report.first))
    var (told, mayBeCalls) = (0, false)
    for try await next in events {
      switch next {
      case .began: break
      case .token(let token, let text):
        mayBeCalls = mayBeCalls || (completion.readsCalls && token?.id == V7Token.toolCalls.rawValue)
        // What is certain only behind [TOOL_CALLS] is told when it has turned out to be no calls.
        let part = mayBeCalls ? "" : text
        told += part.utf8.count
        try await writer.write(event(report.part(part, token.map { [$0] } ?? [])))
      case .ended(let answer):
        try await writer.write(event(report.last(answer, told: told)))
        if let usage = report.usagePart(answer) { try await writer.write(event(usage)) }
        try await writer.write(Self.done)
        return
      }
    }
    throw CancellationError()
  }

  private static let done = ByteBuffer(string: "data: [DONE]\n\n")

  private func event(_ value: JSON) -> ByteBuffer { ByteBuffer(string: "data: \(value.text())\n\n") }
}
