"""Response headers that neither Django nor a library sets."""


class ResourcePolicyMiddleware:
    """Forbid other sites to load pages and files of this site.

    Without the header, another site could embed a page as an image or a script, and
    learn from the time or the error whether someone is signed in here.
    """

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        response = self.get_response(request)
        response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
        return response
