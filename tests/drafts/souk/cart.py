class Cart:
    def __init__(self, request):
        self.session = request.session
        self.lines = self.session.setdefault("cart", {})

    def add(self, kala, quantity):
        self.lines[str(kala.pk)] = self.lines.get(str(kala.pk), 0) + quantity
        self.session.modified = True

    def remove(self, kala):
        self.lines.pop(str(kala.pk), None)
        self.session.modified = True
