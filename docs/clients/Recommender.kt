// A small client of the recommender's API for Android: OkHttp 4, kotlinx.serialization and coroutines.
// Keep `Tokens` in encrypted preferences and the queue in a file.

import java.io.IOException
import java.time.Instant
import java.util.UUID
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.sync.Mutex
import kotlinx.coroutines.sync.withLock
import kotlinx.coroutines.withContext
import kotlinx.serialization.Serializable
import kotlinx.serialization.encodeToString
import kotlinx.serialization.json.Json
import okhttp3.MediaType.Companion.toMediaType
import okhttp3.OkHttpClient
import okhttp3.Request
import okhttp3.RequestBody
import okhttp3.RequestBody.Companion.toRequestBody

@Serializable
data class Tokens(val token: String, val expires_at: String, val refresh_token: String)

@Serializable
data class Problem(val type: String = "", val status: Int = 0, val detail: String = "")

class ApiException(val problem: Problem) : IOException("${problem.status} ${problem.type}: ${problem.detail}")

@Serializable
data class Event(
    val type: String,
    val item_id: String? = null,
    val query: String? = null,
    val ranking_id: String? = null,
    val position: Int? = null,
    val message_id: String = UUID.randomUUID().toString(),
    val occurred_at: String = Instant.now().toString(),
)

@Serializable
private data class Batch(val sent_at: String, val events: List<Event>)

class Recommender(private val base: String, private var tokens: Tokens? = null) {
    private val http = OkHttpClient()
    private val json = Json { ignoreUnknownKeys = true; explicitNulls = false; encodeDefaults = true }
    private val refreshing = Mutex()
    private val queue = ArrayDeque<Event>()

    /** Once per installation, after the shopper has answered whether they may be recorded. */
    suspend fun start(consent: Boolean) {
        if (tokens == null) tokens = json.decodeFromString(send("POST", "visitors", """{"consent": $consent}"""))
    }

    suspend fun get(path: String): String = authorised("GET", path)

    @Synchronized
    fun record(event: Event) = queue.addLast(event)

    /** Events leave the queue once the shop has accounted for them; on any failure they stay. */
    suspend fun flush() {
        var events = waiting()
        while (events.isNotEmpty()) {
            authorised("POST", "events", json.encodeToString(Batch(Instant.now().toString(), events)))
            forget(events)
            events = waiting()
        }
    }

    @Synchronized
    private fun waiting(): List<Event> = queue.take(100)

    @Synchronized
    private fun forget(events: List<Event>) {
        queue.removeAll(events.toSet())
    }

    /** Tie this installation to the user whom the shop's own API knows by `authorization`, such as "Bearer <JWT>". */
    suspend fun link(authorization: String) =
        send("POST", "me/link", "", mapOf("Authorization" to authorization, "Recommender-Visitor" to validToken()))

    suspend fun signOut() {
        authorised("DELETE", "me/tokens/current")
        tokens = null
    }

    private suspend fun authorised(method: String, path: String, body: String? = null): String =
        try {
            send(method, path, body, mapOf("Authorization" to "Visitor ${validToken()}"))
        } catch (error: ApiException) {
            if (!error.problem.type.endsWith(":expired-token")) throw error
            send(method, path, body, mapOf("Authorization" to "Visitor ${refresh(tokens!!)}"))
        }

    private suspend fun validToken(): String {
        val current = checkNotNull(tokens) { "Call start() first." }
        val isFresh = Instant.parse(current.expires_at).isAfter(Instant.now().plusSeconds(60))
        return if (isFresh) current.token else refresh(current)
    }

    /** Once for all calls that wait: a refresh token counts once. */
    private suspend fun refresh(old: Tokens): String = refreshing.withLock {
        if (tokens == old) {
            val body = """{"refresh_token": "${old.refresh_token}"}"""
            tokens = json.decodeFromString(send("POST", "tokens/refresh", body))
        }
        tokens!!.token
    }

    private suspend fun send(
        method: String, path: String, body: String? = null, headers: Map<String, String> = emptyMap(),
    ): String = withContext(Dispatchers.IO) {
        val content: RequestBody? = when {
            !body.isNullOrEmpty() -> body.toRequestBody("application/json".toMediaType())
            method == "POST" -> ByteArray(0).toRequestBody()
            else -> null
        }
        val request = Request.Builder().url(base + path).method(method, content)
        headers.forEach { (name, value) -> request.header(name, value) }
        http.newCall(request.build()).execute().use { answer ->
            val text = answer.body?.string().orEmpty()
            if (answer.isSuccessful) text
            else throw ApiException(runCatching { json.decodeFromString<Problem>(text) }.getOrDefault(Problem()))
        }
    }
}
