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

  /// Calls a function when the client leaves, at once if it has left already. Then the connection ends.
  func whenLeft(_ body: @escaping @Sendable () -> Void) async throws {
    let left = try await channel.eventLoop.submit {
      try channel.pipeline.syncOperations.handler(type: LeavingHandler.self).left
    }.get()
    left.whenComplete { [channel] _ in
      body()
      channel.close(promise: nil)
    }
  }
}

/// Learns that a client has left: that it has closed the connection, or will send nothing more (the two look
/// alike until something is sent to it), or takes nothing of what is sent to it.
final class LeavingHandler: ChannelInboundHandler, RemovableChannelHandler {
  typealias InboundIn = Any

  /// How long what is sent may wait to be taken.
  static let patience = TimeAmount.seconds(30)

  private var promise: EventLoopPromise<Void>!
  private var closing: Scheduled<Void>?
  fileprivate var left: EventLoopFuture<Void> { promise.futureResult }

  func handlerAdded(context: ChannelHandlerContext) { promise = context.eventLoop.makePromise() }

  func handlerRemoved(context: ChannelHandlerContext) {
    closing?.cancel()
    promise.succeed()
  }

  func channelWritabilityChanged(context: ChannelHandlerContext) {
    closing?.cancel()
    let channel = context.channel
    closing =
      channel.isWritable
      ? nil : context.eventLoop.scheduleTask(in: Self.patience) { channel.close(promise: nil) }
    context.fireChannelWritabilityChanged()
  }

  func channelInactive(context: ChannelHandlerContext) {
    promise.succeed()
    context.fireChannelInactive()
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if case .inputClosed = event as? ChannelEvent { promise.succeed() }
    context.fireUserInboundEventTriggered(event)
  }
}
