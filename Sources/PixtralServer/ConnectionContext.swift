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

  /// Calls a function if the client leaves before it sends its next request, at once if it has left already.
  /// Then the connection ends.
  func whenLeft(_ body: @escaping @Sendable () -> Void) {
    channel.eventLoop.execute {
      let handler = try? channel.pipeline.syncOperations.handler(type: LeavingHandler.self)
      // Without a pipeline it has left long ago.
      if let handler { handler.whenLeft(channel, body) } else { body() }
    }
  }
}

/// Learns that a client has left: that it has closed the connection, or will send nothing more (the two look
/// alike until something is sent to it), or takes nothing of what is sent to it.
final class LeavingHandler: ChannelInboundHandler, RemovableChannelHandler {
  typealias InboundIn = HTTPRequestPart

  /// How long what is sent may wait to be taken.
  static let patience = TimeAmount.seconds(30)

  private var hasLeft = false
  private var whenLeft: (() -> Void)?
  private var closing: Scheduled<Void>?

  fileprivate func whenLeft(_ channel: any Channel, _ body: @escaping () -> Void) {
    whenLeft = {
      body()
      channel.close(promise: nil)
    }
    if hasLeft { leave() }
  }

  private func leave() {
    hasLeft = true
    whenLeft?()
    whenLeft = nil
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    // What was to be done for the request before is of no use for this one.
    if case .head = unwrapInboundIn(data) { whenLeft = nil }
    context.fireChannelRead(data)
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
    let channel = context.channel
    closing =
      channel.isWritable
      ? nil : context.eventLoop.scheduleTask(in: Self.patience) { channel.close(promise: nil) }
    context.fireChannelWritabilityChanged()
  }
}
