"""Response headers that neither Django nor a library sets."""


class ResourcePolicyMiddleware:
    """Prevents other sites from loading pages and files of this site.

    Without this header, another site could load a page as an image or a script. The
    loading time or the error would reveal whether someone is signed in here.
    """

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        response = self.get_response(request)
        response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
        return response
