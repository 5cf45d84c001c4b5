import Hummingbird
import NIOCore
import NIOHTTPTypes

/// What a request knows of its connection.
struct ConnectionContext: RequestContext {
  var coreContext: CoreRequestContextStorage
  let channel: any Channel

  init(source: ApplicationRequestContextSource) {
    coreContext = .init(source: source)
    channel = source.channel
  }

  /// Tells a client to go on that waits for that before it sends a body.
  func goOn() { channel.writeAndFlush(HTTPResponsePart.head(HTTPResponse(status: .continue)), promise: nil) }

  /// Calls a function if the client leaves, at once if it has left already; until the connection's next call
  /// of this, which may be long after its next request has come.
  func whenLeft(_ body: @escaping @Sendable () -> Void) {
    channel.eventLoop.execute {
      let handler = try? channel.pipeline.syncOperations.handler(type: LeavingHandler.self)
      // Without a pipeline it has left long ago.
      if let handler { handler.whenLeft(body) } else { body() }
    }
  }
}

/// Learns that a client has left: that it has closed the connection, or will send nothing more (the two look
/// alike until something is sent to it), or takes nothing of what is sent to it.
final class LeavingHandler: ChannelInboundHandler, RemovableChannelHandler {
  typealias InboundIn = HTTPRequestPart

  /// After how many looks a client has taken nothing for too long, and the time from one to the next: 30 s.
  private static let (looks, look) = (6, TimeAmount.seconds(5))

  private var hasLeft = false
  private var whenLeft: (() -> Void)?
  private var closing: Scheduled<Void>?

  fileprivate func whenLeft(_ body: @escaping () -> Void) {
    whenLeft = body
    if hasLeft { leave() }
  }

  private func leave() {
    hasLeft = true
    whenLeft?()
    whenLeft = nil
  }

  func channelInactive(context: ChannelHandlerContext) {
    closing?.cancel()
    leave()
    context.fireChannelInactive()
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if case .inputClosed = event as? ChannelEvent { leave() }
    context.fireUserInboundEventTriggered(event)
  }

  func channelWritabilityChanged(context: ChannelHandlerContext) {
    closing?.cancel()
    if !context.channel.isWritable { closeUnlessTaken(context.channel) }
    context.fireChannelWritabilityChanged()
  }

  /// Closes a connection once it has been looked at some times in a row and nothing was taken.
  ///
  /// - waiting: bytes that were to be taken when it was looked at last.
  /// - idle: how often nothing had been taken.
  private func closeUnlessTaken(_ channel: any Channel, waiting before: Int = .max, idle: Int = 0) {
    closing = channel.eventLoop.assumeIsolated().scheduleTask(in: Self.look) {
      let waiting = (try? channel.syncOptions?.getOption(.bufferedWritableBytes)) ?? 0
      let idle = waiting < before ? 0 : idle + 1
      if idle == Self.looks {
        channel.close(promise: nil)
      } else {
        self.closeUnlessTaken(channel, waiting: waiting, idle: idle)
      }
    }
  }
}
