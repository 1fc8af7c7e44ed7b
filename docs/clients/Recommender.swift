// A small client of the recommender's API for iOS 15 and later. Keep `Tokens` in the keychain and `queue` in a file.

import Foundation

public struct Tokens: Codable {
    public var token: String
    public var expires_at: Date
    public var refresh_token: String
}

public struct Problem: Decodable, Error {
    public let type: String
    public let status: Int
    public let detail: String
}

public struct Event: Codable {
    public var message_id = UUID().uuidString
    public var occurred_at = Date()
    public var type: String
    public var item_id: String?
    public var query: String?
    public var ranking_id: String?
    public var position: Int?
}

public actor Recommender {
    private let base: URL
    private var tokens: Tokens?
    private var queue: [Event] = []
    private var refreshing: Task<Tokens, Error>?

    private let decoder: JSONDecoder = { let it = JSONDecoder(); it.dateDecodingStrategy = .iso8601; return it }()
    private let encoder: JSONEncoder = { let it = JSONEncoder(); it.dateEncodingStrategy = .iso8601; return it }()

    public init(base: URL, tokens: Tokens? = nil) {
        self.base = base
        self.tokens = tokens
    }

    /// Once per installation, after the shopper has answered whether they may be recorded.
    public func start(consent: Bool) async throws {
        if tokens != nil { return }
        tokens = try decoder.decode(Tokens.self, from: try await send("POST", "visitors", body: ["consent": consent]))
    }

    public func get(_ path: String) async throws -> Data { try await authorised("GET", path) }

    public func record(_ event: Event) { queue.append(event) }

    /// Events leave the queue once the shop has accounted for them; on any failure they stay.
    public func flush() async throws {
        struct Batch: Encodable { let sent_at: Date; let events: [Event] }
        while !queue.isEmpty {
            let events = Array(queue.prefix(100))
            _ = try await authorised("POST", "events", body: Batch(sent_at: Date(), events: events))
            let sent = Set(events.map(\.message_id))
            queue.removeAll { sent.contains($0.message_id) }
        }
    }

    /// Tie this installation to the user whom the shop's own API knows by `authorization`, such as "Bearer <JWT>".
    public func link(authorization: String) async throws {
        let headers = ["Authorization": authorization, "Recommender-Visitor": try await validToken()]
        _ = try await send("POST", "me/link", headers: headers)
    }

    public func signOut() async throws {
        _ = try await authorised("DELETE", "me/tokens/current")
        tokens = nil
    }

    private func authorised(_ method: String, _ path: String, body: (any Encodable)? = nil) async throws -> Data {
        let headers = { (token: String) in ["Authorization": "Visitor \(token)"] }
        do {
            return try await send(method, path, body: body, headers: headers(try await validToken()))
        } catch let problem as Problem where problem.type.hasSuffix(":expired-token") {
            return try await send(method, path, body: body, headers: headers(try await refresh().token))
        }
    }

    private func validToken() async throws -> String {
        guard let tokens else { throw URLError(.userAuthenticationRequired) }
        return tokens.expires_at.timeIntervalSinceNow > 60 ? tokens.token : try await refresh().token
    }

    /// Once for all calls that wait: a refresh token counts once.
    private func refresh() async throws -> Tokens {
        if let refreshing { return try await refreshing.value }
        let task = Task { () throws -> Tokens in
            let body = ["refresh_token": tokens?.refresh_token ?? ""]
            return try decoder.decode(Tokens.self, from: try await send("POST", "tokens/refresh", body: body))
        }
        refreshing = task
        defer { refreshing = nil }
        let following = try await task.value
        tokens = following
        return following
    }

    private func send(
        _ method: String, _ path: String, body: (any Encodable)? = nil, headers: [String: String] = [:]
    ) async throws -> Data {
        var request = URLRequest(url: URL(string: path, relativeTo: base)!)
        request.httpMethod = method
        headers.forEach { request.setValue($1, forHTTPHeaderField: $0) }
        if let body {
            request.httpBody = try encoder.encode(body)
            request.setValue("application/json", forHTTPHeaderField: "Content-Type")
        }
        let (data, response) = try await URLSession.shared.data(for: request)
        let status = (response as? HTTPURLResponse)?.statusCode ?? 0
        if (200..<300).contains(status) { return data }
        throw (try? decoder.decode(Problem.self, from: data)) ?? URLError(.badServerResponse)
    }
}
