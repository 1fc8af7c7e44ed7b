from django.db import models
from django.utils import timezone
from parler.models import TranslatableModel, TranslatedFields


class Section(TranslatableModel):
    """Its name lies in rows of its own, one for each language."""

    translations = TranslatedFields(name=models.CharField(max_length=80))


class Kind(models.Model):
    """A tree that tells no depth."""

    name = models.CharField(max_length=80)
    parent = models.ForeignKey("self", models.CASCADE, null=True)


class Good(models.Model):
    class Status(models.TextChoices):
        DRAFT = "d", "Draft"
        PUBLISHED = "p", "Published"
        ARCHIVED = "a", "Archived"

    title = models.CharField(max_length=200)
    description = models.TextField(blank=True)
    cost = models.CharField(max_length=40, default="19.99 USD")
    picture = models.URLField(max_length=3000, blank=True)
    status = models.CharField(max_length=1, choices=Status, default="p")
    live = models.BooleanField(default=True)
    section = models.ForeignKey(Section, models.CASCADE, null=True)
    kinds = models.ManyToManyField(Kind)
    changed = models.DateTimeField(auto_now=True)

    def get_absolute_url(self):
        return f"/good/{self.pk}/"


class Detail(models.Model):
    good = models.OneToOneField(Good, models.CASCADE)
    blurb = models.TextField()


class Book(Good):
    """A child: its row is a row of Good and one of its own."""

    author = models.CharField(max_length=80)


class Ticket(models.Model):
    name = models.CharField(max_length=80)
    is_cheap = models.BooleanField(default=False)


class CheapTickets(models.Manager):
    def get_queryset(self):
        return super().get_queryset().filter(is_cheap=True)


class CheapTicket(Ticket):
    """A proxy: some rows of Ticket."""

    objects = CheapTickets()

    class Meta:
        proxy = True


class Stock(models.Model):
    """Keyed by two columns."""

    pk = models.CompositePrimaryKey("house", "code")
    house = models.IntegerField()
    code = models.CharField(max_length=20)
    title = models.CharField(max_length=80)
    state = models.CharField(max_length=20, default="active")


class Order(models.Model):
    number = models.CharField(max_length=20, unique=True)
    status = models.CharField(
        max_length=10, default="pending", choices=[(word, word) for word in ("pending", "failed", "paid", "sent")]
    )
    mail = models.CharField(max_length=80, blank=True)
    placed_at = models.DateTimeField(default=timezone.now)
    changed_at = models.DateTimeField(default=timezone.now)
    paid_at = models.DateTimeField(null=True)

    @property
    def is_paid(self):
        return self.status in ("paid", "sent")


class Line(models.Model):
    order = models.ForeignKey(Order, models.CASCADE, related_name="lines")
    good = models.ForeignKey(Good, models.CASCADE)
    n = models.IntegerField(default=1)
    each = models.CharField(max_length=20, default="5")
    n_returned = models.IntegerField(default=0)

    @property
    def is_settled(self):
        return self.order.is_paid


class FirstLine(Line):
    class Meta:
        proxy = True


class Payment(models.Model):
    order = models.ForeignKey(Order, models.CASCADE, related_name="payments")
    ok = models.BooleanField(default=False)


class Booking(models.Model):
    """A row of an order that is keyed by two columns."""

    pk = models.CompositePrimaryKey("number", "place")
    number = models.CharField(max_length=20)
    place = models.IntegerField()
    ticket = models.ForeignKey(Ticket, models.CASCADE)
    mail = models.CharField(max_length=80, blank=True)
    booked_at = models.DateTimeField(default=timezone.now)
