def content_security(get_response):
    """A strict policy: no inline script or style, nothing from elsewhere."""

    def answer(request):
        response = get_response(request)
        response["Content-Security-Policy"] = "default-src 'self'"
        return response

    return answer
